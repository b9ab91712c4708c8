"""The benchmark of the ledger measures what it says, and fails where the books do not hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import ledger


def test_everything_is_measured_and_nothing_overspent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger, "SPENT_PAIRS", 10)
    ledger.main(["--json", "--seconds", "0.1", "--rounds", "1", "--processes", "1", "2", "--turns", "10"])
    document = json.loads(capsys.readouterr().out)
    assert document["overspend"] == document["booked_wrongly"] == 0
    for name in ("memory", "sqlite", "postgresql"):
        assert document[name]["overspend"] == 0
        assert document[name]["longest_wait_ms"] > 0
        runs = document[name]["runs"]
        cases = [(run["processes"], run["accounts"]) for run in runs]
        assert cases == [(1, "hot"), (1, "many"), (2, "hot"), (2, "many")]
        for run in runs:
            assert run["pairs_per_second"] > 0
            assert 0 < run["p50_ms"] <= run["p99_ms"]
            assert run.get("bare_pairs_per_second", 1) > 0
    assert "ratio" not in document["memory"]
    assert document["sqlite"]["ratio"] == min(run["ratio"] for run in document["sqlite"]["runs"][2:])
    assert document["postgresql"]["ratio"] == min(run["ratio"] for run in document["postgresql"]["runs"])
    turn = document["turn"]
    assert turn["memory_us"] > 0
    assert turn["ratio"] > 0
    ledger.show(document)
    assert "overspend 0 tokens" in capsys.readouterr().out


@pytest.mark.parametrize("spoilt", ["overspend", "booked_wrongly"])
def test_books_that_do_not_hold_fail_the_benchmark(
    spoilt: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"overspend": 0, "booked_wrongly": 0, spoilt: 1}
    monkeypatch.setattr(ledger, "measure", lambda *arguments: figures)
    with pytest.raises(SystemExit) as ended:
        ledger.main(["--json"])
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().out) == figures


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seconds", "0"], "--seconds is 0.0, it must be above 0"),
        (["--rounds", "0"], "--rounds is 0, the least is 1"),
        (["--processes", "4", "0"], "--processes is 0, the least is 1"),
        (["--turns", "-1"], "--turns is -1, the least is 0"),
    ],
)
def test_a_benchmark_of_nothing_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ledger.main(arguments)
    assert says in capsys.readouterr().err


def test_what_is_spent_above_a_limit_is_seen() -> None:
    class Careless:
        """Books that let everything pass once."""

        def do(self, count: int, task: dict[str, Any]) -> list[dict[str, Any]]:
            return [{"booked": task["limit"], "most": task["limit"] + 7} for _ in range(count)]

    store = ledger.Store("memory", lambda: {"through": "memory"})
    assert ledger.measure_overspend(Careless(), store, [1, 2])["overspend"] == 7  # type: ignore[arg-type]
