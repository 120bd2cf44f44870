"""Shards on a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.core.cluster import Cluster
from pipeline.vectorizing.inputs import Folders
from pipeline.vectorizing.request import Request
from pipeline.vectorizing.session import ShardCallback, vectorize_sharded
from pipeline.vectorizing.shard_pool import ShardProgress
from tests.support.agents import small_agent
from tests.support.fakes import rgba_of
from tests.support.ray_nodes import cut_power
from tests.support.sharded_output import rows, svgs

pytestmark = pytest.mark.slow

FILES, SHARD_FILES = 12, 2


class Losing(ShardCallback):
    """Takes a node from the cluster, without a word to it, when the first shard is done."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self._cluster, self._node = cluster, node
        self.done: list[int] = []

    def on_progress(self, progress: ShardProgress) -> None:
        if progress.tally is not None:
            self.done.append(progress.shard)
            if len(self.done) == 1:
                cut_power(self._cluster, self._node)


def test_shards_come_to_the_same_files_while_a_node_is_lost(
    cluster: Any, running: Cluster, another_node: Any, tmp_path: Path
) -> None:
    images, agent = tmp_path / "in", tmp_path / "agent"
    images.mkdir()
    for seed in range(FILES):
        Image.fromarray(rgba_of(seed)).save(images / f"{seed:02d}.png")
    small_agent().save(agent)

    def request(output: str) -> Request:
        return Request(
            output=tmp_path / output,
            agent=agent,
            objective=None,
            max_damage=None,
            traces=2,
            seed=0,
            shard_files=SHARD_FILES,
        )

    local = vectorize_sharded(request("local"), Folders([images]), ShardCallback(), workers=1)
    losing = Losing(cluster, another_node)
    spread = vectorize_sharded(request("spread"), Folders([images]), losing, backend="ray")
    assert replace(spread, seconds=0) == replace(local, seconds=0)
    assert sorted(losing.done) == list(range(FILES // SHARD_FILES)), "each shard once"
    assert rows(tmp_path / "spread") == rows(tmp_path / "local")
    assert svgs(tmp_path / "spread") == svgs(tmp_path / "local")
