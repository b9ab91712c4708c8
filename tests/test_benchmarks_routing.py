"""The benchmark of routing plays the same workload each way, and measures what rules add."""

from __future__ import annotations

from decimal import Decimal

from benchmarks.routing import LARGE, SMALL, measure_cpu, measure_saving


def test_routing_costs_less_than_the_large_model_and_leaves_it_the_hard_questions(warm: None) -> None:
    rows = measure_saving(conversations=2, turns=4)
    costs = {way: Decimal(row["cost"]) for way, row in rows.items()}
    assert costs["small"] < costs["routed"] < costs["large"]
    assert rows["routed"]["hard_on_large"] == 1
    assert rows["small"]["hard_on_large"] == 0
    assert rows["large"]["requests"] == {LARGE: 8}
    assert set(rows["routed"]["requests"]) == {LARGE, SMALL}
    assert all(sum(row["requests"].values()) == 8 for row in rows.values())


def test_what_rules_add_is_measured(warm: None) -> None:
    figures = measure_cpu(batches=1)
    assert set(figures) == {"turn", "rules", "rules_and_downgrade"}
    assert 0 < figures["rules"] < figures["turn"]
