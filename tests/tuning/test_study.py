from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from pipeline.core.errors import Mismatch, SettingsError, Unavailable
from pipeline.tuning import study as module
from pipeline.tuning.study import HOST, JOURNAL, RETRIED, RUN, SEEN, Claim, Study
from tests.support.postgres import IS_INSTALLED, postgres_server
from tests.support.studies import SPACE, SPLIT, done, opened, settings

HELD: list[Claim] = []


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    """A process that lives holds the locks of its trials."""
    yield
    while HELD:
        HELD.pop().lock.release()


def claim(study: Study, limit: int = 10) -> Claim:
    claimed = study.claim(limit)
    assert claimed is not None
    HELD.append(claimed)
    return claimed


def test_trials_are_given_out_until_there_are_enough(tmp_path: Path) -> None:
    study, other = opened(tmp_path), opened(tmp_path)
    claimed = [claim(study, 3), claim(other, 3), claim(study, 3)]
    assert [c.trial.number for c in claimed] == [0, 1, 2]
    assert other.claim(3) is None
    for one in claimed:
        done(study, one)
    assert study.claim(3) is None
    assert claim(study, 4).trial.number == 3


def test_a_study_that_was_left_and_one_that_was_not_try_the_same(tmp_path: Path) -> None:
    tried: list[list[dict[str, Any]]] = [[], []]
    whole = opened(tmp_path / "whole")
    for number in range(6):
        for study, found in ((whole, tried[0]), (opened(tmp_path / "left"), tried[1])):
            claimed = claim(study)
            found.append(claimed.overrides)
            done(study, claimed, 0.1 * (number % 3))
    assert tried[0] == tried[1]
    assert len({json.dumps(one) for one in tried[0]}) == 6


def test_a_trial_whose_process_died_is_adopted_by_the_next_that_asks(tmp_path: Path) -> None:
    study = opened(tmp_path)
    left = claim(study)
    left.trial.set_user_attr(RUN, "the run")
    left.trial.report(0.3, 0)
    busy = claim(study)
    left.lock.release()  # as the kernel does when a process dies
    adopted = claim(opened(tmp_path), 2)
    assert adopted.trial.number == left.trial.number
    assert (adopted.overrides, adopted.run_id) == (left.overrides, "the run")
    assert adopted.reported == frozenset({0})
    assert opened(tmp_path).claim(2) is None
    done(study, busy)
    done(study, adopted)
    assert [t.state for t in study.trials()] == [TrialState.COMPLETE] * 2


def test_a_trial_that_had_no_value_yet_when_its_process_died_gets_its_values(tmp_path: Path) -> None:
    study = opened(tmp_path)
    trial = study.optuna.ask()
    trial.set_user_attr(HOST, socket.gethostname())
    adopted = claim(study)
    assert adopted.trial.number == 0
    assert set(adopted.overrides) == set(SPACE)


def test_the_trial_of_another_machine_is_given_up_when_it_is_silent_for_long(tmp_path: Path) -> None:
    study = opened(tmp_path)
    theirs = claim(study)
    theirs.trial.set_user_attr(HOST, "elsewhere")
    theirs.trial.set_user_attr(SEEN, time.time())
    theirs.lock.release()
    assert claim(study).trial.number == 1
    theirs.trial.set_user_attr(SEEN, time.time() - module.SILENT_SECONDS - 1)
    again = claim(study)
    assert again.trial.number == 2
    assert again.overrides == theirs.overrides
    gone = study.optuna.get_trials()[0]
    assert gone.state == TrialState.FAIL
    assert gone.user_attrs[RETRIED]
    assert [t.number for t in study.trials()] == [1, 2]


def test_other_conditions_are_refused_with_what_changed(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path, tune__trials=99, compute__workers=1, evaluate__seed=99)
    with pytest.raises(Mismatch, match=r"train\.max_steps: 8 -> 4") as raised:
        opened(tmp_path, train__max_steps=4, train__seed=9)
    assert "train.seed: 1 -> 9" in str(raised.value)
    with pytest.raises(Mismatch, match=r"images\.val: valval\w* -> other"):
        Study(tmp_path, settings(), replace(SPLIT, val=replace(SPLIT.val, digest="other")), "s", None)


def test_a_line_that_a_kill_cut_short_spoils_nothing(tmp_path: Path) -> None:
    study = opened(tmp_path)
    done(study, claim(study))
    with (study.folder / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "torn')
    again = opened(tmp_path)
    done(again, claim(again))
    assert [t.state for t in opened(tmp_path).trials()] == [TrialState.COMPLETE] * 2


def test_a_database_does_as_well_as_the_journal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = opened(tmp_path, url)
    left = claim(study)
    left.lock.release()
    adopted = claim(opened(tmp_path, url))
    assert adopted.overrides == left.overrides
    done(study, adopted)
    assert [t.state for t in opened(tmp_path, url).trials()] == [TrialState.COMPLETE]
    assert not (study.folder / JOURNAL).exists()


@pytest.mark.skipif(not IS_INSTALLED, reason="PostgreSQL or psycopg is not installed")
def test_machines_share_a_study_in_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_server() as url:
        machines = {name: opened(tmp_path / name, url) for name in ("here", "there")}
        claimed: list[Claim] = []
        for name in ("here", "there", "here"):
            monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
            claimed.append(claim(machines[name], 3))
        assert [c.trial.number for c in claimed] == [0, 1, 2]
        monkeypatch.setattr(socket, "gethostname", lambda: "there")
        claimed[0].lock.release()  # its process died, but on the other machine
        assert machines["there"].claim(3) is None
        monkeypatch.setattr(socket, "gethostname", lambda: "here")
        assert claim(machines["here"], 3).overrides == claimed[0].overrides
        for one in claimed:
            done(machines["there"], one)
        assert [t.state for t in machines["here"].trials()] == [TrialState.COMPLETE] * 3
        for study in machines.values():
            study.close()


def test_a_storage_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be used") as raised:
        opened(tmp_path, f"sqlite:////{tmp_path}/no/such/folder/x.db")
    assert "--storage" in str(raised.value)
    with pytest.raises(SettingsError, match="postgresql"):
        opened(tmp_path, "redis://localhost")


def test_nothing_in_the_journal_is_a_pickle(tmp_path: Path) -> None:
    study = opened(tmp_path)
    done(study, claim(study))
    lines = (study.folder / JOURNAL).read_bytes().splitlines()
    assert len(lines) > 5
    for line in lines:
        json.loads(line)
    assert {path.name for path in study.folder.iterdir()} == {JOURNAL, "ask.lock", "trials"}
