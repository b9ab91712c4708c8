"""What hypothesis may let happen: scripts, faults, policies."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from hypothesis import strategies as st
from tenacity import wait_fixed

from assistantguard import (
    CarryOver,
    CostCap,
    Policy,
    RepeatedCallBreaker,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
)
from assistantguard.failures import Facts
from assistantguard.policies.base import Counting, OldGeneration
from tests.properties.acts import Act, Appended, Cancelling, Chore, Refusal, Status, Vanish
from tests.properties.stage import Colour
from tests.properties.world import Manner

__all__ = ["REFUSALS", "acts", "answers", "caps", "chores", "colours", "guarding", "leaves", "manners", "messages"]

Then = Literal["stop", "wrap_up"]
REFUSALS = (
    Facts("request", "Rate limit reached.", 429, "rate_limit_exceeded", "requests", retry_after=1.0),
    Facts("request", "Rate limit reached.", 429, "rate_limit_exceeded", "tokens"),
    Facts("request", "Slow down.", 429),
    Facts("request", "You exceeded your current quota.", 429, "insufficient_quota", "insufficient_quota"),
    Facts("request", "The server had an error.", 500, type="server_error"),
    Facts("request", "Overloaded.", 503, should_retry=False),
    Facts("request", "Conflict.", 409),
    Facts("request", "Invalid value.", 400, type="invalid_request_error"),
    Facts("request", "Incorrect API key provided.", 401),
    Facts("request", "Another process is currently operating on this conversation.", 400, "conversation_locked"),
    Facts("request", "Your input exceeds the context window of this model.", 400, "context_length_exceeded"),
    Facts("connect", "Connection error."),
    Facts("request", "Connection error."),
)
"""Refusals by the server, a connection that was never made, and one that broke before anything was done."""

colours: st.SearchStrategy[Colour] = st.sampled_from(["blocking", "asyncio"])
messages = st.lists(
    st.sampled_from(["Where is it?", "and then", "dreißig Äpfel 🍏", "x" * 700]), min_size=1, max_size=4
)
_calls = st.lists(st.integers(0, 3), max_size=3).map(tuple)
_texts = st.sampled_from(["", "It is on its way.", "ж" * 40])
_appended: st.SearchStrategy[Appended] = st.sampled_from(["all", "input", "nothing"])
_thens: st.SearchStrategy[Then] = st.sampled_from(["stop", "wrap_up"])
_fates: st.SearchStrategy[OldGeneration] = st.sampled_from(["delete", "scrub", "keep"])
_shares = st.sampled_from([0.0, 0.001, 0.1, 1.0])
_cuts: st.SearchStrategy[int | None] = st.sampled_from([None, None, None, None, -1, 0, 1, 3])
_cancels: st.SearchStrategy[Cancelling] = st.sampled_from(["cancelled", "refused", "flips"])
manners = st.builds(
    Manner,
    st.booleans(),
    st.sampled_from([None, True, True, False]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)
"""Streamed and not, in the foreground and in the background."""
leaves = st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=4)
"""After how many events each turn's stream is left; None, and every one after them, is read to its end."""


@st.composite
def _act(draw: st.DrawFn, statuses: list[Status]) -> Act:
    status = draw(st.sampled_from(statuses))
    text, calls = draw(_texts), draw(_calls)
    if status == "completed" and not calls:
        text = text or "done"
    billed = draw(st.booleans()) if status in {"failed", "in_progress"} else True
    return Act(
        text,
        calls,
        status,
        draw(st.sampled_from(["server_error", "rate_limit_exceeded", "invalid_prompt"])),
        draw(_shares),
        draw(st.booleans()),
        billed,
        draw(_appended),
        lost=draw(st.integers(0, 9)) == 0,
        cut=draw(_cuts),
        survives=draw(st.booleans()),
        looks=draw(st.integers(0, 3)),
        cancels=draw(_cancels),
        silent_looks=draw(st.sampled_from([0, 0, 0, 1, 2])),
    )


answers = _act(["completed", "completed", "completed", "incomplete"])
"""Paid answers of a server that is well."""
acts = st.lists(
    st.one_of(
        answers,
        _act(["completed", "incomplete", "failed", "in_progress"]),
        st.sampled_from(REFUSALS).map(Refusal),
        st.just(Vanish()),
    ),
    max_size=12,
)
"""What comes of paid requests."""
chores = st.lists(
    st.one_of(st.none(), st.none(), st.builds(Chore, st.sampled_from(REFUSALS), st.booleans())), max_size=8
)
"""What comes of unpaid ones."""


@st.composite
def caps(draw: st.DrawFn, counting: Counting) -> list[Policy]:
    """Token and cost caps, from hopeless to generous."""
    tokens = st.one_of(st.none(), st.integers(32, 3_000), st.integers(3_000, 120_000))
    dollars = st.one_of(st.none(), st.decimals(Decimal("0.0001"), Decimal("0.3"), places=6))
    out: list[Policy] = []
    session, run = draw(tokens), draw(tokens)
    if session is not None or run is not None:
        out.append(TokenCap(session, run, counting=counting, wait=1.0))
    cost, run_cost = draw(dollars), draw(dollars)
    if cost is not None or run_cost is not None or not out:
        cost = cost if cost is not None or run_cost is not None else Decimal("0.05")
        out.append(CostCap(cost, run_cost, counting=counting, wait=1.0))
    return out


@st.composite
def guarding(draw: st.DrawFn) -> list[Policy]:
    """Everything but caps: retry, ceiling, breaker, rotation, each of them perhaps."""
    out: list[Policy] = [TransientRetry(draw(st.integers(1, 3)), wait=wait_fixed(0.5))]
    if draw(st.booleans()):
        out.append(
            ToolStepCeiling(
                draw(st.integers(1, 3)),
                max_calls=draw(st.one_of(st.none(), st.integers(1, 5))),
                then=draw(_thens),
            )
        )
    if draw(st.booleans()):
        out.append(RepeatedCallBreaker(draw(st.integers(1, 3)), then=draw(_thens)))
    if draw(st.booleans()):
        summary = draw(st.sampled_from([None, "scripted-model"]))
        carry = CarryOver(tail_tokens=200, digest_tokens=200, summary_model=summary, summary_tokens=128)
        out.append(ThreadRotation(draw(st.integers(1, 3)), carry_over=carry, old=draw(_fates)))
    return out
