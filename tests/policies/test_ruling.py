"""Several policies asked at a checkpoint: the strongest decision wins, among equals the first; limits intersect."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from assistantguard import ConfigurationError, CostCap, Policy, TokenCap, ToolStepCeiling, observe
from assistantguard.policies import (
    Cap,
    Decision,
    Limit,
    PolicySet,
    Refuse,
    Rotate,
    Stop,
    View,
    WrapUp,
)
from tests.support.views import make_view


def says(decision: Decision | None, checkpoint: str = "on_step", called: str = "Says") -> Policy:
    """A policy that wants one thing at one checkpoint."""

    def decide(self: Policy, view: View) -> Decision | None:
        return decision

    kind: Any = type(called, (Policy,), {checkpoint: decide})
    made: Policy = kind()
    return made


STOP, WRAP = Stop("stop"), WrapUp("wrap up")


@pytest.mark.parametrize(
    ("wanted", "wins"),
    [
        ([], None),
        ([None, None], None),
        ([WRAP, None], WRAP),
        ([WRAP, STOP], STOP),
        ([STOP, WRAP], STOP),
        ([STOP, Stop("later")], STOP),
        ([None, WRAP, WrapUp("later")], WRAP),
    ],
)
def test_the_strongest_wins_and_among_equals_the_first(wanted: list[Decision | None], wins: Decision | None) -> None:
    policies = [says(decision, called=f"Policy{number}") for number, decision in enumerate(wanted)]
    ruling = PolicySet(policies).rule("on_step", make_view())
    assert ruling.decision is wins
    if wins is not None:
        assert ruling.policy == f"Policy{wanted.index(wins)}"


def test_a_refusal_is_stronger_than_a_rotation() -> None:
    policies = [says(Rotate("old"), "before_turn"), says(Refuse("closed"), "before_turn")]
    assert isinstance(PolicySet(policies).rule("before_turn", make_view()).decision, Refuse)


def test_limits_intersect_and_caps_add_up() -> None:
    caps = [Cap("user:1", "tokens", Decimal(5)), Cap("user:2", "cost", Decimal(1))]
    limits = [
        Limit("a", (caps[0],), max_output_tokens=300, max_tool_calls=2, counting="never", busy_wait=1.0),
        Limit("b", (caps[1],), max_output_tokens=200, max_tool_calls=9, counting="always", busy_wait=0.5),
    ]
    ruling = PolicySet([says(limit, "before_request") for limit in limits]).rule("before_request", make_view())
    assert [placed.cap for placed in ruling.caps] == caps
    assert (ruling.max_output_tokens, ruling.max_tool_calls) == (200, 2)
    assert (ruling.counting, ruling.busy_wait) == ("always", 1.0)
    assert ruling.decision is None


def test_a_limit_beside_a_refusal_leaves_the_refusal() -> None:
    policies = [TokenCap(500), says(Refuse("closed"), "before_request")]
    ruling = PolicySet(policies).rule("before_request", make_view())
    assert isinstance(ruling.decision, Refuse)
    assert len(ruling.caps) == 1


def test_an_observed_decision_is_reported_and_not_taken() -> None:
    ruling = PolicySet([observe(says(STOP, called="Strict")), says(WRAP)]).rule("on_step", make_view())
    assert ruling.decision is WRAP
    (observed,) = ruling.observed
    assert (observed.policy, observed.decision) == ("Strict", STOP)


def test_an_observed_limit_limits_nothing() -> None:
    limit = Limit("a", (Cap("user:1", "tokens", Decimal(5)),), max_output_tokens=16, counting="always")
    ruling = PolicySet([observe(says(limit, "before_request"))]).rule("before_request", make_view())
    assert ruling.max_output_tokens is None
    assert ruling.counting == "near"
    assert [placed.observed for placed in ruling.caps] == [True]


def test_only_policies_that_care_are_asked() -> None:
    policies = PolicySet([ToolStepCeiling(3), CostCap(1)])
    assert policies.asks("on_step")
    assert policies.asks("before_request")
    assert not policies.asks("before_turn")
    assert not PolicySet([]).asks("on_step")


def test_an_observed_policy_keeps_its_name() -> None:
    assert observe(TokenCap(500)).name == "TokenCap"
    assert observe(observe(TokenCap(500))).name == "TokenCap"


def test_observing_twice_is_observing() -> None:
    ruling = PolicySet([observe(observe(says(STOP)))]).rule("on_step", make_view())
    assert ruling.decision is None
    assert [observation.decision for observation in ruling.observed] == [STOP]


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="which is no policy"):
        PolicySet([lambda view: None])  # type: ignore[list-item]
