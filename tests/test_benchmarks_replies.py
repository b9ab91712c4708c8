"""The benchmark of cached replies counts what the sandbox billed."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from benchmarks import replies


def test_it_prints_one_json_document_with_what_was_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replies, "WARM_UP", 0)
    monkeypatch.setattr(replies, "BATCH", 2)
    replies.main(["--json", "--turns", "40", "--rounds", "1"])
    document = json.loads(capsys.readouterr().out)
    rows = document["saved"]
    none, own, everyone = rows["no cache"], rows["for each user"], rows["for everyone"]
    assert none["turns"] == none["calls"] == own["turns"] > 40
    assert none["cached"] == 0
    for row in (own, everyone):
        assert row["calls"] + row["cached"] == row["turns"]
    assert Decimal(everyone["cost"]) < Decimal(own["cost"]) <= Decimal(none["cost"])
    assert everyone["cached"] > 5
    assert set(document["cpu"]) == {"turn_us", "miss_us", "hit_us", "asked_us"}


def test_a_workload_is_the_same_for_a_seed() -> None:
    assert replies.conversations(20, 3) == replies.conversations(20, 3) != replies.conversations(20, 4)
