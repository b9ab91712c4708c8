"""Both plays on the sandbox, and the two bills."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import openai

from assistantguard.demo.guarded import Narration, play_guarded
from assistantguard.demo.model import ScriptedModel
from assistantguard.demo.stage import Stage, dollars
from assistantguard.demo.story import Story
from assistantguard.demo.unguarded import play_unguarded
from assistantguard.sandbox import Fault, Sandbox

__all__ = ["Bill", "play"]

_MODEL = "gpt-6-sol"
_RETRY_AFTER = 0.1
"""Seconds that the rate limit asks for."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What one play cost, by the sandbox's books."""

    model_calls: int
    requests: int
    """Requests for a model call that were sent, refused ones included."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    file_searches: int
    cost: Decimal | None
    """US dollars, fees of file searches included."""
    largest_context: int
    vector_stores: int
    files_embedded: int
    values_needed: int
    """Values from earlier turns that the model needed."""
    values_known: int
    """Those that stood in its context."""


def play(story: Story, stage: Stage) -> tuple[Bill, Bill]:
    """Play the story with a guard and without one; print both bills and return them, the guarded one first."""
    stage.title(f"{story.shop_name}: {len(story.turns)} turns with a guard")
    stage.say(
        "A local sandbox stands in for OpenAI: scripted answers, real HTTP through the official SDK, exact token counts"
        f" and the prices of {_MODEL}. A line is a turn: model calls, input tokens, cost."
    )
    guarded = _play_guarded(story, stage)
    stage.title("The same conversation without a guard")
    stage.say(
        "One conversation for everything, the files embedded anew for every message, the SDK's own retries, and no"
        f" end to the tool calls but the model's own: the script lets them end after {len(story.shops)} shops."
    )
    unguarded = _play_unguarded(story, stage)
    _show_bills(stage, unguarded, guarded)
    return guarded, unguarded


def _sandbox(story: Story, scripted: ScriptedModel) -> Sandbox:
    """A server that refuses the first two requests of the turns that the story names."""
    at = [
        story.requests_before(number) + attempt
        for number, turn in enumerate(story.turns)
        if turn.rate_limit
        for attempt in (1, 2)
    ]
    return Sandbox(scripted, faults=[Fault.rate_limit(at=at, retry_after=_RETRY_AFTER)], model_in_thread=False)


def _play_guarded(story: Story, stage: Stage) -> Bill:
    scripted = ScriptedModel(story)
    with _sandbox(story, scripted) as sandbox:
        client = sandbox.client()
        narration = Narration(stage, story, sandbox, scripted)
        play_guarded(client, _MODEL, story, _upload(client, story), narration)
        return _bill(sandbox, scripted)


def _play_unguarded(story: Story, stage: Stage) -> Bill:
    scripted = ScriptedModel(story)
    with _sandbox(story, scripted) as sandbox:
        client = sandbox.client()

        def after_ten(turns: int) -> None:
            totals = sandbox.billing.totals
            largest = max(call.input_tokens for call in sandbox.billing.calls)
            stage.say(
                f"turns 1 to {turns:2}: {totals.requests:4} calls, {totals.input_tokens:9,} in,"
                f" {dollars(totals.cost)}, largest context {largest:,}"
            )

        play_unguarded(client, _MODEL, story, _upload(client, story), after_ten)
        return _bill(sandbox, scripted)


def _upload(client: openai.OpenAI, story: Story) -> list[str]:
    return [
        client.files.create(file=(name, text.encode()), purpose="assistants").id for name, text in story.files.items()
    ]


def _bill(sandbox: Sandbox, scripted: ScriptedModel) -> Bill:
    billing = sandbox.billing
    totals = billing.totals
    return Bill(
        model_calls=totals.requests,
        requests=sum(request.endpoint == "POST /responses" for request in sandbox.requests),
        input_tokens=totals.input_tokens,
        cached_tokens=totals.cached_tokens,
        output_tokens=totals.output_tokens,
        file_searches=sum(call.file_searches for call in billing.calls),
        cost=totals.cost,
        largest_context=max(call.input_tokens for call in billing.calls),
        vector_stores=billing.vector_stores_created,
        files_embedded=sum(billing.files_embedded.values()),
        values_needed=scripted.needed,
        values_known=scripted.needed - len(scripted.missing),
    )


def _show_bills(stage: Stage, unguarded: Bill, guarded: Bill) -> None:
    both = (unguarded, guarded)

    def row(label: str, name: str) -> list[str]:
        before, after = (getattr(bill, name) for bill in both)
        return [label, f"{before:,}", f"{after:,}", _change(before, after)]

    rows = [
        row("model calls", "model_calls"),
        row("requests sent for them", "requests"),
        row("input tokens", "input_tokens"),
        row("  of them cached", "cached_tokens"),
        row("output tokens", "output_tokens"),
        row("file searches", "file_searches"),
        ["cost of it all", *(dollars(bill.cost) for bill in both), _change(unguarded.cost, guarded.cost)],
        row("largest context", "largest_context"),
        row("vector stores made", "vector_stores"),
        row("files embedded", "files_embedded"),
        [
            "earlier values still known",
            *(f"{bill.values_known:,} of {bill.values_needed:,}" for bill in both),
            "",
        ],
    ]
    stage.bills("The two bills", ("without", "guarded", "change"), rows)


def _change(before: float | Decimal | None, after: float | Decimal | None) -> str:
    if not before or after is None or before == after:
        return ""
    return f"{float(after) / float(before) - 1:+.0%}"
