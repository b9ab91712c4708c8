"""The benchmark of cached replies counts what the sandbox billed."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from benchmarks import replies


def test_it_prints_one_json_document_with_what_was_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replies, "WARM_UP", 1)
    monkeypatch.setattr(replies, "BATCH", 1)
    replies.main(["--json", "--turns", "40", "--rounds", "1"])
    document = json.loads(capsys.readouterr().out)
    rows = document["saved"]
    neither, own, everyone = rows["neither"], rows["cache"], rows["cache for everyone"]
    assert neither["turns"] == neither["calls"] == own["turns"] > 40
    assert (neither["cached"], neither["saved"], neither["hard_on_large"]) == (0, 0, 1)
    for row in rows.values():
        assert row["calls"] + row["cached"] == row["turns"]
        assert sum(row["calls_by_model"].values()) == row["calls"]
    cost = {name: Decimal(row["cost"]) for name, row in rows.items()}
    assert cost["cache for everyone"] < cost["cache"] <= cost["neither"]
    assert cost["both for everyone"] < min(cost["cache for everyone"], cost["routing"]) < cost["neither"]
    assert everyone["cached"] > 5
    assert rows["routing"]["cached"] == 0
    assert all(rows[name]["hard_on_large"] == 1 for name in ("routing", "both", "both for everyone"))
    assert set(document["cpu_us"]) == {
        "turn",
        "hit",
        "asked",
        "cache_no_part",
        "cache_miss",
        "cache_miss_alone",
        "routing",
        "routing_rules",
        "routing_rules_and_downgrade",
    }


def test_figures_are_shown_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"turns": 4, "cached": 1, "calls": 3, "calls_by_model": {"gpt-5": 3}, "tokens": 900, "cost": "0.01"}
    row |= {"saved": 0.25, "hard_on_large": None}
    parts = ("turn", "hit", "asked", "cache_no_part", "cache_miss", "routing", "routing_rules")
    alone = {"cache_miss_alone": 7.5, "routing_rules_and_downgrade": 31.5}
    replies.show({"saved": {"cache": row}, "cpu_us": {**dict.fromkeys(parts, 12.5), **alone}})
    shown = capsys.readouterr().out
    assert "25%" in shown
    assert shown.count("12.5 µs") == 4
    assert "7.5 µs" in shown
    assert "31.5 µs" in shown


def test_a_workload_is_the_same_for_a_seed() -> None:
    assert replies.conversations(20, 3) == replies.conversations(20, 3) != replies.conversations(20, 4)
