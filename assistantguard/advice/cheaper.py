"""Which turns a cheaper model would do for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard import tokens
from assistantguard.advice.bill import FRAME_TOKENS, AsItWas, Change
from assistantguard.advice.making import is_worth_it, make
from assistantguard.policies import ModelRouting
from assistantguard.policies.routing_rules import Otherwise, ShortMessages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from assistantguard.advice.bill import Reckoner
    from assistantguard.advice.history import ThreadHistory, Turn
    from assistantguard.advice.values import Suggestion

__all__ = ["DEFAULT_CHEAPER", "cheaper_model"]

DEFAULT_CHEAPER = "gpt-6-luna"
"""The least that a current model costs."""
_PLAIN_SHARE = 0.95
"""So many of the runs that a rule moves must have been short and without tools."""
_SHORT_OUTPUT = 500
"""Tokens of a short answer at most."""
_LEAST_TURNS = 30
_LEAST_OF_TURNS = 0.1
_MUCH_CHEAPER = Decimal("0.7")


def cheaper_model(reckoner: Reckoner, cheaper: str = DEFAULT_CHEAPER) -> Iterator[Suggestion]:
    """A cheaper model for short messages, where those are answered shortly and without tools."""
    there = reckoner.prices.price(cheaper)
    by_model: dict[str, list[ThreadHistory]] = {}
    for thread in reckoner.threads:
        models = {call.model for turn in thread.turns for call in turn.calls}
        if len(models) == 1:
            by_model.setdefault(models.pop(), []).append(thread)
    for model, threads in by_model.items():
        here = reckoner.prices.price(model)
        if there is None or here is None or model == cheaper:
            continue
        if there.input > _MUCH_CHEAPER * here.input or there.output > _MUCH_CHEAPER * here.output:
            continue
        found = _threshold([turn for thread in threads for turn in thread.turns if turn.calls])
        if found is not None:
            yield from _suggest(reckoner, model, cheaper, threads, *found)


def _threshold(turns: Sequence[Turn]) -> tuple[int, int, int] | None:
    """The longest message that is nearly always answered shortly and without tools, in tokens.

    Returns:
        Its tokens, how many messages are no longer, and how many of those were answered so; None where there is none.
    """
    sized = sorted((_size(turn), _is_plain(turn)) for turn in turns)
    best: tuple[int, int, int] | None = None
    plain = 0
    for number, (size, is_plain) in enumerate(sized, start=1):
        plain += is_plain
        if number < len(sized) and sized[number][0] == size:
            continue
        enough = number >= max(_LEAST_TURNS, _LEAST_OF_TURNS * len(sized))
        if enough and plain >= _PLAIN_SHARE * number:
            best = size, number, plain
    return best


def _size(turn: Turn) -> int:
    if turn.message is not None:
        return tokens.estimate(turn.message).tokens
    return max(1, turn.message_tokens - FRAME_TOKENS)


def _is_plain(turn: Turn) -> bool:
    return not turn.steps and turn.calls[-1].output_tokens <= _SHORT_OUTPUT


def _suggest(
    reckoner: Reckoner, model: str, cheaper: str, threads: Sequence[ThreadHistory], size: int, turns: int, plain: int
) -> Iterator[Suggestion]:
    tokens.wait_until_ready()
    routing = ModelRouting([ShortMessages(cheaper, max_tokens=size), Otherwise(model)])
    before = reckoner.reckon(AsItWas, threads).cost
    after = reckoner.reckon(Change(routing=routing), threads)
    dearer = reckoner.reckon(Change(routing=routing, output_factor=2), threads).cost
    if before is None or after.cost is None or not is_worth_it(reckoner, before - after.cost):
        return
    yield make(
        reckoner,
        "cheaper_model",
        before - after.cost,
        title=f"Let {cheaper} answer messages of up to {size} tokens: they are answered shortly and without tools.",
        setting=f"ModelRouting([ShortMessages({cheaper!r}, max_tokens={size}), Otherwise({model!r})])",
        method="Every call is billed anew at the model that the rules choose, what it loses of the prompt cache"
        " included. Assumed: as many tokens are written. Whether the answers are as good is not known: try it on some"
        " threads first.",
        evidence=f"{turns:,} messages to {model} have up to {size} tokens, and {plain / turns:.0%} of them were"
        f" answered with at most {_SHORT_OUTPUT} tokens and no tool; {after.moved:,} turns would move",
        sureness="estimated",
        variants=[None if dearer is None else before - dearer],
        between="twice as many tokens",
    )
