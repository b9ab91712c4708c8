"""A month of traffic through guards on the sandbox, and what a forecast from its first third says of the rest.

::

    python -m benchmarks.forecast [--json] [--scale N] [--seed N] [--traffic NAME]

Users talk to guards for thirty days, of which the first ten are history: the ledger's own rows up to then are all that
the forecast knows. Truth is the sandbox's bill of the other twenty days. The clock is put forward, nothing is waited
for. ``error`` is the forecast beside the bill; the aim is within 10 %.

``steady``: support chats of a few messages, as many each day. ``growing``: twice as many by the end of the month.
``long``: users who keep one thread for the whole month, so that each message costs more than the one before.
``rotating``: the same with the default rotation, which the forecast knows only by what it sees. ``tools``: long threads
that rotate after twelve turns, whose answers often take a step of tools.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest import mock

from assistantguard import Assistant, AssistantGuard, MemoryLedger, Policy, ThreadRotation, tool
from assistantguard.forecast import HistoryOptions, forecast_from_history, history_of_entries
from assistantguard.sandbox import Answer, FunctionCall, ModelRequest, Sandbox, Totals

__all__ = ["TRAFFIC", "main", "measure"]

DAY = 86_400.0
DAYS = 30
KNOWN = 10
START = 1_795_000_000.0
MODEL = "gpt-6-luna"
INSTRUCTIONS = "You answer questions about orders, parcels and bills, in a few sentences. " * 12
WORDS = ("order", "parcel", "bill", "day", "street", "number", "letter", "size", "colour", "price", "small", "late")

Message = tuple[float, str, str]
"""When it is sent (days), by whom, and on which of his threads."""


def chats(dice: random.Random, a_day: float, growth: float, *counts: int) -> Iterator[Message]:
    """Short conversations that begin all the time: so many a day, and more of them with growth."""
    lengths: list[int] = []
    when = 0.0
    for number in itertools.count():
        step = 1 / (a_day * (1 + growth) ** (when / DAYS))
        begins = when + dice.uniform(0.3, 0.7) * step
        when += step
        if when >= DAYS:
            return
        # Long and short ones come in turn, or chance alone would move a month this small by more than a tenth.
        lengths = lengths or dice.sample(counts, k=len(counts))
        for message in range(lengths.pop()):
            yield begins + message * dice.uniform(1, 4) / 1_440, f"user {number % 41}", f"chat {number}"


def companions(dice: random.Random, users: float, least: float, most: float) -> Iterator[Message]:
    """Users with one thread each for the whole month, who write every so many days."""
    for user in range(max(2, round(users))):
        gap = dice.uniform(least, most)
        when = dice.random() * gap
        while when < DAYS:
            yield when, f"user {user}", "own"
            when += gap * dice.uniform(0.7, 1.3)


@dataclass(frozen=True)
class Traffic:
    """A kind of traffic."""

    messages: Callable[[random.Random, float], Iterator[Message]]
    policies: Sequence[Policy] = ()
    tools: bool = False


TRAFFIC = {
    "steady": Traffic(lambda dice, scale: chats(dice, 4 * scale, 0.0, 2, 3, 4)),
    "growing": Traffic(lambda dice, scale: chats(dice, 4 * scale, 1.0, 1, 2, 3)),
    "long": Traffic(lambda dice, scale: companions(dice, 8 * scale, 0.4, 0.9)),
    "rotating": Traffic(lambda dice, scale: companions(dice, 5 * scale, 0.25, 0.5), [ThreadRotation()]),
    "tools": Traffic(lambda dice, scale: companions(dice, 8 * scale, 0.4, 0.9), [ThreadRotation(12)], tools=True),
}


@tool
def look_up(number: str) -> str:
    """Look an order up."""
    return f"order {number}: " + " ".join(WORDS) * 2


def words(dice: random.Random, least: int, most: int) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(least, most)))


@contextmanager
def clock() -> Iterator[Callable[[float], None]]:
    """A clock that stands where it is set."""
    now = [START]

    def put(days: float) -> None:
        now[0] = START + days * DAY

    with mock.patch("time.time", side_effect=lambda: now[0]):
        yield put


def measure(kind: str, scale: float = 1.0, seed: int = 1) -> dict[str, Any]:
    """Have a month of traffic, forecast its rest from its first third, and look at the bill."""
    traffic = TRAFFIC[kind]
    dice = random.Random(f"{kind} {seed}")
    messages = sorted(traffic.messages(dice, scale))

    def answer(request: ModelRequest) -> Any:
        asked = sum(item["type"] == "function_call_output" for item in request.items[-2:])
        if traffic.tools and asked < 1 and dice.random() < 0.6:
            return FunctionCall("look_up", {"number": str(dice.randint(1, 10**6))})
        return Answer(words(dice, 40, 160))

    ledger = MemoryLedger()
    with Sandbox(answer, model_in_thread=False) as sandbox, clock() as put:
        assistant = Assistant(MODEL, INSTRUCTIONS, tools=[look_up] if traffic.tools else [])
        bot = AssistantGuard(
            sandbox.client(), assistant, traffic.policies, sinks=[], ledger=ledger, max_threads_per_user=None
        )

        def talk(part: Sequence[Message]) -> None:
            for when, user, topic in part:
                put(when)
                bot.thread(user=user, topic=topic).chat(words(dice, 20, 90))

        with bot:
            first = sum(message[0] < KNOWN for message in messages)
            talk(messages[:first])
            known, past = len(sandbox.billing.calls), ledger.entries()
            talk(messages[first:])
        calls = sandbox.billing.calls
        bill = Totals.of(calls[known:]).cost
        before = Totals.of(calls[:known]).cost
    assert bill is not None
    assert before is not None
    began = time.process_time()
    history = history_of_entries(past, begins=START, ends=START + KNOWN * DAY)
    options = HistoryOptions(months=1, period_days=Decimal(DAYS - KNOWN))
    (forecast,) = forecast_from_history(history, options)
    seconds = time.process_time() - began
    return {
        "messages": len(messages),
        "known": history.runs,
        "interactions": round(forecast.periods[0].interactions, 1),
        "billed_before": str(before),
        "naive": str(before * (DAYS - KNOWN) / KNOWN),
        "forecast": str(forecast.cost),
        "low": str(forecast.low),
        "high": str(forecast.high),
        "bill": str(bill),
        "error": float(forecast.cost / bill - 1),
        "in_range": forecast.low <= bill <= forecast.high,
        "forecast_seconds": round(seconds, 3),
        "notes": list(forecast.notes),
    }


def show(document: dict[str, Any]) -> None:
    """Print the figures for people."""
    print(f"{DAYS} days of traffic, the first {KNOWN} known to the forecast of the rest\n")
    heads = ("messages", "bill so far", "forecast", "80 % from", "to", "bill", "error", "as before")
    print(f"{'':9}" + "".join(f"{head:>13}" for head in heads))
    for kind, row in document.items():
        money = [f"${Decimal(row[name]):.6f}" for name in ("billed_before", "forecast", "low", "high", "bill")]
        naive = Decimal(row["naive"]) / Decimal(row["bill"]) - 1
        cells = [f"{row['messages']:,}", *money, f"{row['error']:+.1%}", f"{naive:+.1%}"]
        print(f"{kind:9}" + "".join(f"{cell:>13}" for cell in cells))
    print("\nerror: the forecast beside the bill (aim: within 10 %); as before: that of another month at the same cost")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--scale", type=float, default=1.0, help="how much traffic (1); 1 is about 400 messages each")
    parser.add_argument("--seed", type=int, default=1, help="of the traffic (1)")
    parser.add_argument("--traffic", action="append", choices=TRAFFIC, help="only this kind; may be given again")
    options = parser.parse_args(arguments)
    if not 0.25 <= options.scale <= 100:
        parser.error(f"--scale is {options.scale}, it must be from 0.25 to 100")
    document = {kind: measure(kind, options.scale, options.seed) for kind in options.traffic or TRAFFIC}
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


if __name__ == "__main__":
    main()
