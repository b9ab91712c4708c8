"""Over random scripts, faults, caps and rules: whatever the rules do, a cap in US dollars is never passed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given, note
from hypothesis import strategies as st
from tenacity import wait_fixed

from assistantguard import (
    AssistantGuardError,
    CostCap,
    Downgrade,
    Fallback,
    ModelRouting,
    Policy,
    Price,
    Route,
    TransientRetry,
)
from assistantguard.policies import View
from assistantguard.policies.routing import Rule
from tests.properties.acts import Act, Chore, Refusal, Vanish
from tests.properties.stage import Colour
from tests.properties.strategies import acts, chores, colours, manners, messages
from tests.properties.world import MODEL, PRICE, Manner, World

CHEAP, DEAR, UNPRICED = "cheap-model", "dear-model", "unpriced-model"
PRICES = {
    MODEL: PRICE,
    CHEAP: Price(
        input="0.25", cached_input="0.05", output="1", service_tiers={"priority": Price(input="0.5", output="2")}
    ),
    DEAR: Price(input="8", cached_input="1", cache_write="10", output="40"),
}
_routes = st.one_of(
    st.none(),
    st.builds(
        Route,
        st.sampled_from([None, MODEL, CHEAP, DEAR, UNPRICED]),
        reasoning_effort=st.sampled_from([None, "high"]),
        service_tier=st.sampled_from([None, None, "priority"]),
        force=st.booleans(),
        keep=st.booleans(),
    ),
)


@st.composite
def routings(draw: st.DrawFn) -> list[Policy]:
    """Rules that say anything, and those that look at budgets and failures, perhaps."""
    said = itertools.cycle(draw(st.lists(_routes, min_size=1, max_size=5)))

    def rule(view: View) -> Route | None:
        return next(said)

    rules: list[Rule] = [rule]
    if draw(st.booleans()):
        rules.insert(0, Downgrade(CHEAP, when_left=draw(st.sampled_from([0.2, 0.9]))))
    if draw(st.booleans()):
        remember = draw(st.sampled_from([0.0, 300.0]))
        rules.append(Fallback((CHEAP, DEAR), after=draw(st.integers(1, 3)), remember=remember))
    return [
        TransientRetry(draw(st.integers(1, 3)), wait=wait_fixed(0.5)),
        ModelRouting(rules, stay=draw(st.booleans())),
    ]


@given(
    script=acts,
    faults=chores,
    dollars=st.decimals(Decimal("0.0005"), Decimal("0.4"), places=6),
    routing=routings(),
    texts=messages,
    colour=colours,
    manner=manners,
    in_process=st.booleans(),
)
def test_a_cap_in_dollars_is_never_passed_whatever_the_rules_do(
    script: Sequence[Act | Refusal | Vanish],
    faults: Sequence[Chore | None],
    dollars: Decimal,
    routing: list[Policy],
    texts: list[str],
    colour: Colour,
    manner: Manner,
    in_process: bool,
) -> None:
    policies = [*routing, CostCap(dollars, counting="always", wait=1.0)]
    world = World(script, faults, policies, colour, manner=manner, in_process=in_process, prices=PRICES)

    for number, text in enumerate(texts):
        try:
            reply = world.chat(f"{text} ({number})")
            note(f"turn {number}: {reply.run.status} by {reply.run.model}")
        except AssistantGuardError as error:
            note(f"turn {number}: {error!r}")

    world.check_books()
    spent = Decimal(0)
    for billed in world.server.bill:
        cost = PRICES[billed.model].cost(billed.usage)
        assert cost is not None
        spent += cost
    assert spent <= dollars
    assert world.ledger.balance("session:s", "cost").committed <= dollars
    for entry in world.ledger.entries():
        assert entry.model != UNPRICED
