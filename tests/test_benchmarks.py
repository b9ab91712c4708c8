"""The overhead benchmark measures two sides that do the same."""

from __future__ import annotations

import json

import pytest

from assistantguard import AssistantGuard
from benchmarks import overhead
from benchmarks.canned import CannedServer


def test_it_prints_one_json_document_with_all_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repeats = overhead.measure_import
    monkeypatch.setattr(overhead, "measure_import", lambda: repeats(1))
    monkeypatch.setattr(overhead, "WARM_UP", 0)
    overhead.main(["--json", "--turns", "10"])
    document = json.loads(capsys.readouterr().out)
    for colour in ("sync", "async"):
        row = document[colour]
        assert row["ratio"] > 0
        assert row["guard_us"] > 0
        assert row["raw_us"] == pytest.approx((row["plain"]["raw_us"] + row["tool"]["raw_us"]) / 2, rel=0.01)
    imports = document["import"]
    assert imports["assistantguard_ms"] > imports["openai_ms"] > 0
    assert imports["ratio"] == pytest.approx(imports["assistantguard_ms"] / imports["openai_ms"], rel=0.01)


def test_sides_that_send_different_requests_are_not_compared() -> None:
    server = CannedServer()
    with server.client() as client:
        bot = AssistantGuard(client, overhead.assistant())
        raw = overhead.raw_turns(client)
        overhead.check_same(server, lambda: raw("Hello"), lambda: bot.chat("Hello"))
        with pytest.raises(RuntimeError, match="do not send the same"):
            overhead.check_same(server, lambda: raw("Hello"), lambda: bot.chat("Good morning"))


def test_sides_that_make_more_requests_are_not_compared() -> None:
    made = {("plain", "raw"): 10, ("plain", "guard"): 10, ("tool", "raw"): 20, ("tool", "guard"): 21}
    with pytest.raises(RuntimeError, match="as many requests"):
        overhead.check_count(made)


def test_too_few_turns_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        overhead.main(["--turns", "9"])
    assert "--turns is 9, the least is one batch: 10" in capsys.readouterr().err
