from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState

from pipeline.tuning.report import importance_of, write_report
from pipeline.tuning.study import ERROR, RUN, Study
from tests.support.studies import done, opened

SPACE = {
    "train.ppo.learning_rate": {"low": 0.0001, "high": 0.01},
    "train.ppo.hidden_units": {"choices": [[8], [16, 16]]},
}


def study_with(root: Path, count: int) -> Study:
    """Trials that are worth more the faster they learn; the last one was pruned."""
    study = opened(root, tune__space=SPACE)
    for _ in range(count):
        claimed = study.claim(100)
        assert claimed is not None
        claimed.trial.set_user_attr(RUN, f"run-{claimed.trial.number}")
        done(study, claimed, 10 * claimed.overrides["train.ppo.learning_rate"])
    claimed = study.claim(100)
    assert claimed is not None
    claimed.trial.report(0.01, 1)
    study.optuna.tell(claimed.trial, state=TrialState.PRUNED)
    claimed.lock.release()
    return study


def test_the_winner_is_named_with_what_dvc_takes(tmp_path: Path) -> None:
    study = study_with(tmp_path, 9)
    report = write_report(study)
    best = max(study.trials()[:9], key=lambda t: t.values[0])
    patch = yaml.safe_load((study.folder / "best.yaml").read_text())
    assert patch == report.best == study.space.overrides(best.params)
    text = (report.folder / "report.md").read_text()
    assert text.startswith("# Study s\n\n10 trials: 9 complete, 1 pruned.\n\n**The best is trial ")
    assert f"**The best is trial {best.number}:** value (ln, 0 = VTracer's default) {best.values[0]:.4f}" in text
    assert report.command is not None
    assert report.command in text
    units = json.dumps(patch["train.ppo.hidden_units"])
    assert f"-S 'train.ppo.hidden_units={units}'" in report.command or f"hidden_units={units}" in report.command
    assert report.tags["tune.best_run"] == f"run-{best.number}"


def test_what_decides_the_value_matters_most(tmp_path: Path) -> None:
    found = importance_of(study_with(tmp_path, 20))
    assert list(found) == ["train.ppo.learning_rate", "train.ppo.hidden_units"]
    assert found["train.ppo.learning_rate"] > 0.6
    assert sum(found.values()) == pytest.approx(1.0)


def test_every_picture_that_the_text_shows_is_there(tmp_path: Path) -> None:
    report = write_report(study_with(tmp_path, 9))
    text = (report.folder / "report.md").read_text()
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert shown == ["history.png", "importance.png"]
    for name in shown:
        assert (report.folder / name).read_bytes().startswith(b"\x89PNG")


def test_a_few_trials_do_not_tell_which_settings_matter(tmp_path: Path) -> None:
    report = write_report(study_with(tmp_path, 3))
    assert not (report.folder / "importance.png").exists()
    assert "shown from 8 complete trials on" in (report.folder / "report.md").read_text()


def test_a_study_without_a_complete_trial_names_no_winner(tmp_path: Path) -> None:
    study = opened(tmp_path, tune__space=SPACE)
    claimed = study.claim(1)
    assert claimed is not None
    claimed.trial.set_user_attr(ERROR, "ValueError: a | b\nc")
    study.optuna.tell(claimed.trial, state=TrialState.FAIL)
    claimed.lock.release()
    report = write_report(study)
    assert (report.best, report.command) == (None, None)
    assert not (study.folder / "best.yaml").exists()
    assert "| 0 | fail: ValueError: a / b c |" in (report.folder / "report.md").read_text()


@pytest.mark.parametrize("objectives", [["value", "seconds"]])
def test_with_several_objectives_those_that_no_other_beats_are_marked(tmp_path: Path, objectives: list[str]) -> None:
    study = opened(tmp_path, tune__space=SPACE, tune__objectives=objectives, tune__pruner="none")
    for values in ([0.5, 10.0], [0.4, 20.0], [0.3, 5.0]):
        claimed = study.claim(9)
        assert claimed is not None
        study.optuna.tell(claimed.trial, values)
        claimed.lock.release()
    report = write_report(study)
    rows = [line for line in (report.folder / "report.md").read_text().splitlines() if re.match(r"\| \d", line)]
    assert ["no other is better in all" in row for row in rows] == [True, False, True]
