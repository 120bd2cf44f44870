from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipeline.core.facts.data import SplitContent
from pipeline.settings.overrides import overridden
from pipeline.settings.params import Settings, load_settings
from pipeline.tracking import lineage
from tests.support.facts import split_summary
from tests.support.source import ROOT


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-b", "trunk")
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("a: 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_checkout(checkout: Path) -> None:
    tags = lineage.git_tags(checkout)
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["mlflow.source.git.branch"] == "trunk"
    assert tags["git.dirty"] == "false"


@pytest.mark.parametrize(("file", "dirty"), [("params.yaml", "true"), ("new.py", "true"), ("dvc.lock", "false")])
def test_differences_are_told_except_what_the_pipeline_itself_writes(checkout: Path, file: str, dirty: str) -> None:
    (checkout / file).write_text("a: 2\n")
    assert lineage.git_tags(checkout)["git.dirty"] == dirty


def test_what_a_whole_pipeline_writes_leaves_a_clone_clean(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    entries = [e for s in stages.values() for kind in ("outs", "metrics", "plots") for e in s.get(kind, [])]
    cached = [e if isinstance(e, str) else next(iter(e)) for e in entries if isinstance(e, str) or "persist" in str(e)]
    for path in ["dvc.lock", *(e if isinstance(e, str) else next(iter(e)) for e in entries)]:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("written")
    assert lineage.git_tags(tmp_path)["git.dirty"] == "false"
    for path in cached:  # else DVC writes a .gitignore beside it, which is a difference
        git(tmp_path, "check-ignore", "--quiet", path)
    (tmp_path / "results/train/notes.txt").write_text("by hand")
    assert lineage.git_tags(tmp_path)["git.dirty"] == "true"


def test_without_a_repository_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert lineage.git_tags(tmp_path) == {}
    git(tmp_path, "init")
    assert lineage.git_tags(tmp_path) == {}  # no commit yet


def test_without_git_nothing_is_made_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert lineage.git_tags(checkout) == {}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "folder/b/__pycache__").mkdir(parents=True)
    (tmp_path / "folder/a.txt").write_text("one\n")
    (tmp_path / "folder/b/c.txt").write_text("two\n")
    (tmp_path / "folder/b/__pycache__/c.pyc").write_text("noise")
    return tmp_path


def test_digests_are_those_that_dvc_writes_into_its_lock(inputs: Path) -> None:
    # From `dvc add` of DVC 3.67 on the same files.
    assert lineage.digest_of(inputs / "folder/a.txt") == "5bbf5a52328e7439ae6e719dfe712200"
    assert lineage.digest_of(inputs / "folder") == "4d766c5a6be8460aee3b3f4d33376864.dir"


def test_the_inputs_of_a_stage_are_hashed_with_params_filled_in(inputs: Path) -> None:
    (inputs / "params.yaml").write_text("data: {root: folder}\n")
    (inputs / "dvc.yaml").write_text(
        """
        stages:
          train:
            cmd: python -m pipeline.stages.train
            deps:
              - ${data.root}
              - folder/a.txt: {optional: true}
              - ${nowhere.at.all}
              - folder/missing.txt
          seeds:
            foreach: [1, 2]
            do: {cmd: x, deps: [folder/a.txt]}
        """
    )
    found = lineage.dvc_inputs(inputs, "train")
    assert found == {p: lineage.digest_of(inputs / p) for p in ("folder", "folder/a.txt")}
    (inputs / "folder/a.txt").write_text("changed\n")
    assert lineage.dvc_inputs(inputs, "train") != found
    assert list(lineage.dvc_inputs(inputs, "seeds@1")) == ["folder/a.txt"]
    assert lineage.dvc_inputs(inputs, "other") == {}


@pytest.mark.parametrize("text", [None, "stages: {", "[]", "stages:\n", "stages: {train: null}"])
def test_an_unreadable_pipeline_costs_the_digests_only(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "dvc.yaml").write_text(text)
    assert lineage.dvc_inputs(tmp_path, "train") == {}


def test_tags_name_user_stage_and_experiment(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "bold-fox")
    monkeypatch.setenv("LOGNAME", "ann")
    tags = lineage.tags_of(inputs, "train")
    assert tags["dvc.exp_name"] == "bold-fox"
    assert tags["mlflow.user"] == "ann"
    assert tags["mlflow.source.name"] == "pipeline.stages.train"


def test_the_origin_names_stage_seeds_versions_and_dependencies(inputs: Path) -> None:
    (inputs / "dvc.yaml").write_text("stages: {train: {cmd: x, deps: [folder/a.txt]}}")
    origin = lineage.origin(inputs, "train", {"train": 3})
    assert (origin["stage"], origin["seeds"]) == ("train", {"train": 3})
    assert origin["dependencies"] == {"folder/a.txt": "5bbf5a52328e7439ae6e719dfe712200"}
    assert origin["versions"]["version.vtracer"] == "0.6.15"
    assert lineage.origin(inputs, None, {})["dependencies"] == {}


@pytest.mark.parametrize(
    ("assignments", "seed", "name"),
    [
        ([], 1, "seed 1"),
        (["train.seed=2", "train.n_seeds=3", "compute.workers=7", "experiment=other"], 2, "seed 2"),
        (["train.max_steps=4"], 2, "train.max_steps=4, seed 2"),
        (["objective.name=smaller", "tracing.mode={fixed: polygon}"], 1,
         "objective.name=smaller, tracing.mode.fixed=polygon, seed 1"),
        (["train.max_steps=4", "train.n_envs=8", "train.shortlist=9", "train.ppo.gamma=0.9",
          "validation.sampling=random", "train.ppo.n_epochs=3"], 1,
         "train.max_steps=4, train.n_envs=8, train.shortlist=9, train.ppo.n_epochs=3, 2 more, seed 1"),
    ],
)  # fmt: skip
def test_a_run_is_named_by_what_differs_from_the_commit(
    tmp_path: Path, assignments: list[str], seed: int, name: str
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    changed, _ = overridden(load_settings(ROOT / "params.yaml"), assignments)
    assert lineage.run_name(tmp_path, changed, seed) == f"seed {seed}", "nothing to differ from"
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    assert lineage.run_name(tmp_path, changed, seed) == name
    (tmp_path / "params.yaml").write_text("of: another release\n")
    git(tmp_path, "commit", "-am", "second")
    assert lineage.run_name(tmp_path, changed, seed) == f"seed {seed}"


def test_settings_become_dotted_parameters(settings: Settings) -> None:
    params = lineage.flatten(settings)
    assert params["train.ppo.learning_rate"] == str(settings.train.ppo.learning_rate)
    assert params["register.min_improvement"] == "0.0"
    assert params["curriculum.enabled"] == "true"
    assert json.loads(params["train.ppo.hidden_units"]) == [64, 64]
    assert all(isinstance(value, str) for value in params.values())


def test_a_splits_summary_gives_its_data_sets() -> None:
    summary = replace(split_summary(), train=SplitContent(images=7, groups=5, digest="a" * 64))
    train, _, test = lineage.datasets_of(summary)
    assert (train.context, train.images, len(train.short_digest)) == ("train", 7, 36)
    assert test.digest == summary.test.digest
