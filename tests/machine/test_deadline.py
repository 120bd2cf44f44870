from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipeline.machine.deadline import Source, SourceReading, read_all
from pipeline.machine.sources import SourceAbsentError

SOON = 0.05
"""The deadline of sources that hang. Those that answer have minutes: a busy machine may let a thread wait."""


class Answer:
    """A source that answers, fails or hangs as told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0

    def __call__(self) -> str:
        self.begun += 1
        self.gate.wait()
        if self.error:
            raise self.error
        return "value"


@pytest.fixture
def answer() -> Iterator[Answer]:
    made = Answer()
    yield made
    made.gate.set()


def read(source: Source, deadline_seconds: float = 120.0) -> SourceReading:
    return read_all([source], deadline_seconds)["it"]


def hanging(answer: Answer) -> Source:
    """A source that has missed its deadline."""
    answer.gate.clear()
    source = Source("it", answer)
    assert read(source, SOON).up is False
    return source


def test_a_source_that_answers_is_up(answer: Answer) -> None:
    outcome = read(Source("it", answer))
    assert (outcome.value, outcome.up) == ("value", True)
    assert outcome.seconds >= 0


def test_a_source_that_fails_is_down_and_says_why_once(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    source = Source("it", answer)
    answer.error = OSError("the disk is away")
    for _ in range(3):
        assert read(source).up is False
    answer.error = None
    assert read(source).up is True
    assert [record.getMessage() for record in caplog.records] == [
        "source it: OSError: the disk is away",
        "source it: answers again",
    ]


def test_a_source_that_runs_into_a_time_limit_of_its_own_has_failed_too(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source("it", answer)
    answer.error = TimeoutError("NFS")
    assert read(source).up is False
    assert "NFS" in caplog.text
    answer.error = None
    assert read(source).up is True


def test_a_source_that_the_machine_lacks_is_neither_up_nor_down(answer: Answer) -> None:
    answer.error = SourceAbsentError("no driver")
    assert read(Source("it", answer)).up is None


def test_a_source_that_was_there_is_missed(answer: Answer) -> None:
    source = Source("it", answer)
    read(source)
    answer.error = SourceAbsentError("no driver any more")
    assert read(source).up is False


def test_a_hanging_source_costs_one_deadline_and_one_thread_and_is_back_when_it_answers(answer: Answer) -> None:
    source = Source("it", answer)
    answer.gate.clear()
    before = threading.active_count()
    began = time.monotonic()
    assert read(source, SOON).up is False
    assert time.monotonic() - began >= SOON
    for _ in range(100):
        began = time.monotonic()
        outcome = read(source, 60)
        assert outcome.up is False
        assert outcome.seconds >= SOON, "what it took so far"
        assert time.monotonic() - began < 60, "while it hangs nobody waits for it again"
    assert threading.active_count() <= before + 1
    assert answer.begun == 1
    answer.gate.set()
    assert eventually(lambda: read(source).up is True)
    assert eventually(lambda: threading.active_count() <= before), "the thread that was stuck has ended"


def test_the_others_are_read_all_the_same(answer: Answer) -> None:
    before, after = Source("before", lambda: 1), Source("after", lambda: 2)
    outcomes = read_all([before, hanging(answer), after], 120)
    assert {name: (outcome.value, outcome.up) for name, outcome in outcomes.items()} == {
        "before": (1, True),
        "it": (None, False),
        "after": (2, True),
    }


def test_several_may_hang_at_once(answer: Answer) -> None:
    sources = [hanging(answer) for _ in range(4)]
    for _ in range(3):
        for source in sources:
            assert read(source, SOON).up is False
        assert read(Source("it", lambda: 1)).up is True
    assert answer.begun == 4


def test_a_slow_source_has_its_own_time_and_not_the_others() -> None:
    joined: list[float] = []

    class Slow(Source):
        def outcome(self, deadline_seconds: float) -> SourceReading:
            joined.append(deadline_seconds)
            time.sleep(SOON)
            return super().outcome(deadline_seconds)

    slow = [Slow(str(n), lambda: None) for n in range(4)]
    assert all(outcome.up for outcome in read_all(slow, 120).values())
    assert joined == [120] * 4


def test_an_answer_that_comes_too_late_is_not_shown_later(answer: Answer) -> None:
    source = Source("it", answer)
    answer.gate.clear()
    read(source, SOON)
    answer.gate.set()
    assert eventually(lambda: read(source).value == "value")
    assert answer.begun == 2, "it was asked anew"


def eventually(told: Callable[[], bool]) -> bool:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if told():
            return True
    return False
