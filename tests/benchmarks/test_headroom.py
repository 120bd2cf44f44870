from benchmarks.headroom import TRACES, headroom
from tests.support.fakes import FakeEvaluator, task_of, tiny_agent


def test_perfect_knowledge_is_never_worse_than_greedy() -> None:
    policies = headroom(tiny_agent().greedy(), [task_of(1), task_of(2)], FakeEvaluator())
    for number, traces in enumerate(TRACES):
        rows = {name: rows[number] for name, rows in policies.items()}
        assert {row["traces"] for row in rows.values()} == {traces}
        assert rows["greedy"]["gain"] == [0, 0, 0]
        assert rows["oracle"]["value"] >= max(row["value"] for row in rows.values())
    assert policies["shortlist_oracle"][0]["value"] >= policies["greedy"][0]["value"] > 0
