"""What the cache of replies saves on repeated questions, and what it costs in CPU time.

::

    python -m benchmarks.replies [--json] [--turns N] [--rounds N] [--seed N]

``saved``: users ask from a catalogue whose questions are as unequally popular as real ones (the n-th is asked 1/n as
often as the first), each in a conversation of its own, and half of them ask one of two follow-ups. The same seeded
turns are played to the sandbox without the cache, with replies kept for each user, and with replies kept for everyone.
Calls, tokens and dollars are those of the sandbox's bill, not of our books.

``cpu``: microseconds of process time for each turn over a server in the process that takes no time. ``miss`` is what
the cache adds to a turn that it does not answer, the median over rounds in which turns with and without it alternate;
``hit`` is a whole turn that it answers, the new conversation included, ``asked`` the same turn without it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from assistantguard import Assistant, AssistantGuard, Policy, ReplyCache, tokens
from assistantguard.sandbox import Answer, ModelRequest, Sandbox
from benchmarks.canned import CannedServer

__all__ = ["main", "measure_cpu", "measure_saved"]

USERS = 20
QUESTIONS = 60
FOLLOW_UPS = ("And how long does that take?", "What does it cost?")
BATCH = 20
WARM_UP = 2
INSTRUCTIONS = "You answer questions about orders, parcels and bills in two or three sentences."
MODEL = "gpt-6-luna"

Turns = Sequence[tuple[str, Sequence[str]]]
"""Conversations: who has them, and what is asked in them."""


def conversations(count: int, seed: int) -> Turns:
    """A workload: the same for a seed."""
    dice = random.Random(seed)
    weights = [1 / rank for rank in range(1, QUESTIONS + 1)]
    asked = dice.choices(range(QUESTIONS), weights, k=count)
    return [
        (
            f"user {dice.randrange(USERS)}",
            [
                f"Question {number}: what do I do where my parcel number {number} does not arrive?",
                *([dice.choice(FOLLOW_UPS)] if dice.random() < 0.5 else []),
            ],
        )
        for number in asked
    ]


def say(request: ModelRequest) -> Answer:
    """An answer of a few sentences, the same to the same question."""
    return Answer(f"About {request.last_user_text!r}: " + "please look into your orders and follow the link. " * 4)


def play(turns: Turns, policies: Sequence[Policy]) -> dict[str, Any]:
    """Have the conversations; return the sandbox's bill."""
    cached = asked = 0
    with Sandbox(say, model_in_thread=False) as sandbox:
        bot = AssistantGuard(
            sandbox.client(), Assistant(MODEL, INSTRUCTIONS), policies, sinks=[], max_threads_per_user=None
        )
        with bot:
            for number, (user, questions) in enumerate(turns):
                thread = bot.thread(user=user, topic=str(number))
                for question in questions:
                    cached += thread.chat(question).cached
                    asked += 1
        calls = sandbox.billing.calls
        return {
            "turns": asked,
            "cached": cached,
            "calls": len(calls),
            "tokens": sum(call.input_tokens + call.output_tokens for call in calls),
            "cost": str(sum((call.cost or Decimal(0) for call in calls), Decimal(0))),
        }


def measure_saved(count: int, seed: int) -> dict[str, Any]:
    """The bill of so many conversations, without the cache and with it."""
    turns = conversations(count, seed)
    sides: dict[str, list[Policy]] = {
        "no cache": [],
        "for each user": [ReplyCache()],
        "for everyone": [ReplyCache(scope="everyone")],
    }
    return {name: play(turns, policies) for name, policies in sides.items()}


def cpu_of(turns: Iterator[Any]) -> float:
    """Microseconds of process time of each turn."""
    gc.collect()
    began = time.process_time()
    made = sum(1 for _ in turns)
    return (time.process_time() - began) / made * 1e6


def measure_cpu(rounds: int) -> dict[str, float]:
    """What the cache costs in CPU time."""
    server = CannedServer()
    client = server.client()
    plain = AssistantGuard(client, Assistant(MODEL, INSTRUCTIONS), [], sinks=[])
    caching = AssistantGuard(client, Assistant(MODEL, INSTRUCTIONS), [ReplyCache(scope="everyone")], sinks=[])
    tokens.wait_until_ready()
    numbers = iter(range(1_000_000))
    without, added, hits, asked = [], [], [], []
    caching.thread().chat("What is it?")
    for number in range(-WARM_UP, rounds):
        threads = plain.thread(), caching.thread()
        seconds = {
            bot: cpu_of(threads[bot].chat(f"Question {next(numbers)}?") for _ in range(BATCH))
            for bot in ((0, 1) if number % 2 else (1, 0))
        }
        hit = cpu_of(caching.thread().chat("What is it?") for _ in range(BATCH))
        new = cpu_of(plain.thread().chat("What is it?") for _ in range(BATCH))
        if number >= 0:
            without.append(seconds[0])
            added.append(seconds[1] - seconds[0])
            hits.append(hit)
            asked.append(new)
    assert caching.thread().chat("What is it?").cached
    for bot in (plain, caching):
        bot.close()
    client.close()
    figures = {"turn_us": without, "miss_us": added, "hit_us": hits, "asked_us": asked}
    return {name: round(statistics.median(values), 1) for name, values in figures.items()}


def show(document: dict[str, Any]) -> None:
    """Print the figures for people."""
    cpu, saved = document["cpu"], document["saved"]
    first = saved["no cache"]
    print(f"{'':14} {'turns':>7} {'cached':>7} {'calls':>7} {'tokens':>10} {'cost':>12} {'saved':>6}")
    for name, row in saved.items():
        share = 1 - Decimal(row["cost"]) / Decimal(first["cost"])
        print(
            f"{name:14} {row['turns']:7,} {row['cached']:7,} {row['calls']:7,} {row['tokens']:10,}"
            f" {Decimal(row['cost']):12.6f} {share:6.0%}"
        )
    print(f"\nCPU of a turn: {cpu['turn_us']} us; a miss adds {cpu['miss_us']} us (aim: below 50)")
    print(f"CPU of a first turn: {cpu['asked_us']} us asked, {cpu['hit_us']} us from the cache")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replies", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--turns", type=int, default=400, help="conversations to have (400)")
    parser.add_argument("--rounds", type=int, default=30, help=f"rounds of {BATCH} turns for the CPU times (30)")
    parser.add_argument("--seed", type=int, default=1, help="of the workload (1)")
    options = parser.parse_args(arguments)
    if options.turns < 1 or options.rounds < 1:
        parser.error("--turns and --rounds must be at least 1")
    document = {"saved": measure_saved(options.turns, options.seed), "cpu": measure_cpu(options.rounds)}
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


if __name__ == "__main__":
    main()
