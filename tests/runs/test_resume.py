from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import DataError, Mismatch
from pipeline.core.facts.data import SplitContent
from pipeline.core.locks import free
from pipeline.runs.resume import (
    TRAINING,
    WITHOUT_EFFECT,
    TrainingOrigin,
    checkpoint_path,
    deliver,
    differences,
    find,
    fingerprint_of,
    place_of,
    read_lineage,
    run_folder,
    undelivered,
)
from pipeline.settings.params import Settings
from pipeline.tracking.lineage import flatten
from tests.support.facts import split_summary
from tests.support.fakes import ROOT, settings_with

NOW = {"seed": "1", "train.ppo.gamma": "1.0", "version.torch": "2.13.0"}
SPLIT = split_summary()


def run(runs: Path, name: str, **changes: Any) -> Path:
    """A run's folder with one checkpoint, which nobody reads here."""
    folder = runs / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "000001-7.ckpt").write_bytes(b"x")
    replace(TrainingOrigin(NOW), **changes).write(folder)
    return folder


def checkpoint_of(folder: Path) -> Path:
    return folder / "checkpoints" / "000001-7.ckpt"


def test_differences_name_what_changed_came_and_went() -> None:
    then = {"a": "1", "b": "2", "c": "3"}
    assert differences(then, {"b": "2", "c": "4", "d": "5"}) == ["a: 1 -> absent", "c: 3 -> 4", "d: absent -> 5"]
    assert differences(then, then) == []


def fingerprint(settings: Settings, seed: int = 1, **split: Any) -> dict[str, str]:
    return fingerprint_of(ROOT, settings, replace(SPLIT, **split), {"vtracer": "0.6.15"}, seed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train__ppo__gamma", 0.5),
        ("train__total_timesteps", 24576),
        ("train__shortlist", 12),
        ("tracing__filter_speckle", {"low": 0, "high": 7}),
        ("objective__name", "sharper"),
        ("curriculum__enabled", False),
        ("compute__timeout_seconds", 5.0),
        ("data__background", "#000000"),
        ("validation__images_per_category", 4),
        ("evaluate__bootstrap_samples", 500),
    ],
)
def test_a_setting_that_decides_bits_is_in_the_fingerprint(key: str, value: Any) -> None:
    changed = differences(fingerprint(settings_with()), fingerprint(settings_with(**{key: value})))
    assert changed
    assert all(line.startswith(key.replace("__", ".")) for line in changed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compute__backend", "ray"),
        ("compute__workers", 7),
        ("compute__store_bytes", 10**8),
        ("compute__memory_limit_bytes", 10**9),
        ("data__root", "elsewhere"),
        ("train__n_seeds", 3),
        ("train__seed", 9),
        ("checkpoints__keep_last", 9),
        ("checkpoints__every_seconds", 1.0),
        ("experiment", "another"),
        ("register__min_improvement", 0.5),
        ("evaluate__traces", [1]),
    ],
)
def test_a_setting_that_decides_none_is_not(key: str, value: Any) -> None:
    assert differences(fingerprint(settings_with()), fingerprint(settings_with(**{key: value}))) == []


def test_what_is_left_out_are_settings_that_there_are() -> None:
    assert flatten(settings_with()).keys() >= WITHOUT_EFFECT


def test_seed_images_versions_and_code_are_in_the_fingerprint() -> None:
    here = fingerprint(settings_with())
    assert differences(here, fingerprint(settings_with(), seed=2)) == ["seed: 1 -> 2"]
    other = fingerprint(settings_with(), train=SplitContent(images=1, groups=1, digest="00"))
    assert differences(here, other) == [f"images.train: {SPLIT.train.digest} -> 00"]
    assert "images.test" not in here, "a training never sees them"
    assert {"version.vtracer", "version.torch", "version.python", "version.processor"} <= here.keys()
    assert any(name.startswith("code.pipeline/training") for name in here)


def test_the_newest_run_that_was_left_under_the_same_conditions_is_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, "20260101-a")
    newest = run(tmp_path, "20260102-a")
    run(tmp_path, "20260103-delivered", delivered=True)
    run(tmp_path, "20260104-forked", forked_from="x/y")
    run(tmp_path, "20260105-other-seed", fingerprint=NOW | {"seed": "2"})
    assert find(tmp_path, NOW, None, fork=False) == newest


def test_a_run_that_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    older, newer = run(tmp_path, "20260101-a"), run(tmp_path, "20260102-a")
    with free(newer) as is_ours:
        assert is_ours
        assert find(tmp_path, NOW, None, fork=False) == older


def test_one_left_under_other_conditions_is_named_with_what_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, "20260101-a", fingerprint=NOW | {"train.ppo.gamma": "0.5"})
    with caplog.at_level(logging.WARNING):
        assert find(tmp_path, NOW, None, fork=False) is None
    assert "run 20260101-a was left unfinished under other conditions" in caplog.text
    assert "(train.ppo.gamma: 0.5 -> 1.0)" in caplog.text
    assert "`tracewright checkpoints resume 20260101-a --fork`" in caplog.text


def test_without_any_run_a_new_one_begins_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find(tmp_path / "none", NOW, None, fork=False) is None
    assert caplog.text == ""


def test_the_run_that_is_asked_for_goes_on_or_says_why_not(tmp_path: Path) -> None:
    same = run(tmp_path, "20260101-a")
    assert find(tmp_path, NOW, checkpoint_of(same), fork=False) == same
    other = run(tmp_path, "20260102-b", fingerprint={"seed": "1", "version.torch": "2.0.0"})
    with pytest.raises(Mismatch) as raised:
        find(tmp_path, NOW, checkpoint_of(other), fork=False)
    said = str(raised.value).splitlines()
    assert said[0] == "run 20260102-b cannot go on to the same bits, because these changed:"
    assert said[1:3] == ["  train.ppo.gamma: absent -> 1.0", "  version.torch: 2.0.0 -> 2.13.0"]
    assert "--fork" in said[3]
    assert raised.value.exit_code == 78


def test_a_finished_run_is_not_gone_on_with_but_can_be_forked(tmp_path: Path) -> None:
    done = run(tmp_path, "20260101-a")
    deliver(done)
    assert read_lineage(done).delivered
    assert list(undelivered(tmp_path)) == []
    with pytest.raises(Mismatch, match="is finished; begin a new run from its state with --fork"):
        find(tmp_path, NOW, checkpoint_of(done), fork=False)
    assert find(tmp_path, NOW, checkpoint_of(done), fork=True) is None
    other = run(tmp_path, "20260102-b", fingerprint={"seed": "2"})
    assert find(tmp_path, NOW, checkpoint_of(other), fork=True) is None


def test_a_lineage_comes_back_as_it_was_written(tmp_path: Path) -> None:
    for lineage in (
        TrainingOrigin(NOW),
        TrainingOrigin({}, delivered=True),
        TrainingOrigin(NOW, forked_from="run/000001-7.ckpt"),
    ):
        lineage.write(tmp_path)
        assert read_lineage(tmp_path) == lineage


def test_a_lineage_that_cannot_be_read_costs_its_run_only(tmp_path: Path) -> None:
    sound = run(tmp_path, "20260101-a")
    broken = run(tmp_path, "20260102-b")
    (broken / TRAINING).write_text("[]")
    with pytest.raises(DataError, match=r"training\.json: does not describe a training"):
        read_lineage(broken)
    assert find(tmp_path, NOW, None, fork=False) == sound


def test_a_place_leads_back_to_the_checkpoint(tmp_path: Path) -> None:
    folder = run(tmp_path, "20260101-a")
    place = place_of(checkpoint_of(folder))
    assert place == "20260101-a/000001-7.ckpt"
    assert checkpoint_path(tmp_path, place) == checkpoint_of(folder)
    assert checkpoint_path(tmp_path, str(checkpoint_of(folder))) == checkpoint_of(folder)
    assert place_of(tmp_path / "elsewhere.ckpt") == "elsewhere.ckpt"


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "a/../../outside", "outside\n", "x" * 5000, "a\0b"])
def test_a_name_that_leads_out_of_the_runs_is_no_run(tmp_path: Path, name: str) -> None:
    run(tmp_path, "outside")
    runs = tmp_path / "runs"
    run(runs, "a")
    TrainingOrigin(NOW).write(runs)
    for find_it in (run_folder, checkpoint_path):
        with pytest.raises(DataError):
            find_it(runs, name)


def test_what_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    run(tmp_path, "20260101-a")
    with pytest.raises(DataError, match="there is no training run 'gone'; `tracewright checkpoints list` shows"):
        run_folder(tmp_path, "gone")
    with pytest.raises(DataError, match=r"run 20260101-a has no checkpoint '000002-9\.ckpt'"):
        checkpoint_path(tmp_path, "20260101-a/000002-9.ckpt")
    with pytest.raises(DataError, match="run 20260101-a has no sound checkpoint"):
        checkpoint_path(tmp_path, "20260101-a")
