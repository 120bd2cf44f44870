from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipeline.machine.deadline import Crew, Outcome, Source
from pipeline.machine.sources import Absent

SOON = 0.05


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


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew(deadline_seconds=5.0)
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[Crew]:
    """A crew that does not wait long."""
    made = Crew(deadline_seconds=SOON)
    yield made
    made.close()


def read(crew: Crew, source: Source) -> Outcome:
    return crew.read([source])["it"]


def test_a_source_that_answers_is_up(crew: Crew, answer: Answer) -> None:
    outcome = read(crew, Source("it", answer))
    assert (outcome.value, outcome.up) == ("value", True)
    assert 0 <= outcome.seconds < 5


def test_a_source_that_fails_is_down_and_says_why_once(
    crew: Crew, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source("it", answer)
    answer.error = OSError("the disk is away")
    for _ in range(3):
        assert read(crew, source).up is False
    answer.error = None
    assert read(crew, source).up is True
    assert [record.getMessage() for record in caplog.records] == [
        "source it: OSError: the disk is away",
        "source it: answers again",
    ]


def test_a_source_that_runs_into_a_time_limit_of_its_own_has_failed_too(
    crew: Crew, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source("it", answer)
    answer.error = TimeoutError("NFS")
    assert read(crew, source).up is False
    assert "NFS" in caplog.text
    assert source.hangs_since is None


def test_a_source_that_the_machine_lacks_is_neither_up_nor_down(crew: Crew, answer: Answer) -> None:
    answer.error = Absent("no driver")
    assert read(crew, Source("it", answer)).up is None


def test_a_source_that_was_there_is_missed(crew: Crew, answer: Answer) -> None:
    source = Source("it", answer)
    read(crew, source)
    answer.error = Absent("no driver any more")
    assert read(crew, source).up is False


def test_sources_are_read_in_one_thread(crew: Crew) -> None:
    threads: set[int] = set()
    sources = [Source(str(n), lambda: threads.add(threading.get_ident())) for n in range(5)]
    for _ in range(3):
        assert all(outcome.up for outcome in crew.read(sources).values())
    assert len(threads) == 1


def test_a_hanging_source_costs_one_deadline_and_one_thread_and_is_back_when_it_answers(
    hasty: Crew, answer: Answer
) -> None:
    source = Source("it", answer)
    answer.gate.clear()
    before = threading.active_count()
    began = time.monotonic()
    assert read(hasty, source).up is False
    assert time.monotonic() - began >= SOON
    began = time.monotonic()
    for _ in range(100):
        outcome = read(hasty, source)
        assert outcome.up is False
        assert outcome.seconds >= SOON, "what it took so far"
    assert time.monotonic() - began < 2.0, "while it hangs nobody waits for it again"
    assert threading.active_count() <= before + 2
    assert answer.begun == 1
    answer.gate.set()
    assert eventually(lambda: read(hasty, source).up is True)
    assert eventually(lambda: threading.active_count() <= before + 1), "the thread that was stuck has ended"


def test_the_others_are_read_all_the_same(hasty: Crew, answer: Answer) -> None:
    answer.gate.clear()
    before, after = Source("before", lambda: 1), Source("after", lambda: 2)
    outcomes = hasty.read([before, Source("it", answer), after])
    assert {name: (outcome.value, outcome.up) for name, outcome in outcomes.items()} == {
        "before": (1, True),
        "it": (None, False),
        "after": (2, True),
    }


def test_an_event_loop_goes_on_meanwhile(hasty: Crew, answer: Answer) -> None:
    answer.gate.clear()
    sources = [Source("before", lambda: 1), Source("it", answer), Source("after", lambda: 2)]
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(SOON / 10)

    async def read_all() -> dict[str, Outcome]:
        beating = asyncio.create_task(beat())
        outcomes = await hasty.read_soon(sources)
        beating.cancel()
        return outcomes

    outcomes = asyncio.run(read_all())
    assert {name: (outcome.value, outcome.up) for name, outcome in outcomes.items()} == {
        "before": (1, True),
        "it": (None, False),
        "after": (2, True),
    }
    assert beats > 2


def test_several_may_hang_at_once(hasty: Crew, answer: Answer) -> None:
    answer.gate.clear()
    sources = [Source(str(n), answer) for n in range(4)]
    for _ in range(3):
        assert {outcome.up for outcome in hasty.read([*sources, Source("well", lambda: 1)]).values()} == {True, False}
    assert answer.begun == 4


def test_a_slow_source_has_its_own_time_and_not_the_others(hasty: Crew) -> None:
    """Ten of them take longer together than one of them may."""
    slow = [Source(str(n), lambda: time.sleep(SOON / 5)) for n in range(10)]
    assert all(outcome.up for outcome in hasty.read(slow).values())


def test_an_answer_that_comes_too_late_is_not_shown_later(hasty: Crew, answer: Answer) -> None:
    source = Source("it", answer)
    answer.gate.clear()
    read(hasty, source)
    answer.gate.set()
    assert eventually(lambda: source.hangs_since is None)
    assert read(hasty, source).value == "value"
    assert answer.begun == 2, "it was asked anew"


def eventually(told: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if told():
            return True
    return False
