"""What a cache of replies and routing save on repeated and easy questions, and what each costs in CPU time.

::

    python -m benchmarks.replies [--json] [--turns N] [--rounds N] [--seed N]

``saved``: users ask from a catalogue whose questions are as unequally popular as real ones (the n-th is asked 1/n as
often as the first), each in a conversation of its own, and half of them ask one of two follow-ups. Every fourth
question is hard, the others are easy. The same seeded turns are played to the sandbox with neither policy, with
replies kept for each user and for everyone, with routing (hard questions to the large model, all others to the small
one), and with both. Calls, tokens and dollars are those of the sandbox's bill, not of our books. ``hard_on_large`` is
the share of the hard questions whose answer is the large model's, be it from the cache: the reason not to take the
small model for all.

``cpu_us``: microseconds of the thread's CPU time over a server in the process that takes no time. Guards with and
without a policy take turns, and what counts is the median of the differences between two turns that follow each other.
``cache_no_part`` is what the cache adds to a turn that has no part in it, ``cache_miss`` to one that it looks up in
vain and whose reply it then keeps, ``routing`` what rules of each kind add that choose nothing. ``hit`` is a whole
first turn from the cache, the new conversation included, ``asked`` the same turn without it. On a busy machine these
differences are those of turns whose code and data were pushed out of the processor's caches meanwhile. So
``cache_miss_alone`` is what the cache does for a miss without the rest of the turn, and ``routing_rules`` and
``routing_rules_and_downgrade`` are the rules asked likewise; see `benchmarks.routing`.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from assistantguard import (
    Assistant,
    AssistantGuard,
    ModelRouting,
    Policy,
    ReplyCache,
    RunState,
    ThreadState,
    Usage,
    tokens,
)
from assistantguard._blocking import block_on
from assistantguard.engine.exchange import Outcome
from assistantguard.engine.input import new_run
from assistantguard.engine.ports import ModelAnswer
from assistantguard.replies.keys import EMPTY
from assistantguard.sandbox import ModelRequest, Sandbox
from benchmarks import routing
from benchmarks.canned import TEXT, CannedServer
from benchmarks.routing import LARGE

__all__ = ["main", "measure_alone", "measure_cpu", "measure_saved"]

USERS = 20
QUESTIONS = 60
EASY = (
    "Question {n}: what do I do where my parcel number {n} does not arrive?",
    "Question {n}: when is the shop in street {n} open?",
    "Question {n}: do you ship to region {n}?",
)
FOLLOW_UPS = ("And how long does that take?", "What does it cost?")
BATCH = 20
WARM_UP = 20
"""Turns of each guard that do not count."""
INSTRUCTIONS = "You answer questions about orders, parcels and devices of a kitchen shop in two or three sentences."
AIM = 50
"""Microseconds that a policy may add to a turn where it does nothing."""

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
            [question(number), *([dice.choice(FOLLOW_UPS)] if dice.random() < 0.5 else [])],
        )
        for number in asked
    ]


def question(number: int) -> str:
    """A question of the catalogue: every fourth is hard."""
    kind = number % 4
    return (EASY[kind] if kind < len(EASY) else routing.HARD).format(n=number)


def is_hard(text: str) -> bool:
    """Whether a question is for the large model."""
    return "compare" in text


def play(turns: Turns, policies: Sequence[Policy]) -> dict[str, Any]:
    """Have the conversations; return the sandbox's bill."""
    cached = asked = hard = on_large = 0
    said_by_large: set[str] = set()
    answers = iter(range(1_000_000))

    def say(request: ModelRequest) -> str:
        text = f"Answer {next(answers)}: {routing.answer(request)}"
        if request.model == LARGE:
            said_by_large.add(text)
        return text

    with Sandbox(say, model_in_thread=False) as sandbox:
        bot = AssistantGuard(
            sandbox.client(), Assistant(LARGE, INSTRUCTIONS), policies, sinks=[], max_threads_per_user=None
        )
        with bot:
            for number, (user, questions) in enumerate(turns):
                thread = bot.thread(user=user, topic=str(number))
                for text in questions:
                    reply = thread.chat(text)
                    cached += reply.cached
                    asked += 1
                    if is_hard(text):
                        hard += 1
                        on_large += reply.text in said_by_large
        calls, by_model = sandbox.billing.calls, sandbox.billing.by_model
        return {
            "turns": asked,
            "cached": cached,
            "calls": len(calls),
            "calls_by_model": {name: sums.requests for name, sums in by_model.items()},
            "tokens": sum(call.input_tokens + call.output_tokens for call in calls),
            "cost": str(sum((call.cost or Decimal(0) for call in calls), Decimal(0))),
            "hard_on_large": round(on_large / hard, 4) if hard else None,
        }


def measure_saved(count: int, seed: int) -> dict[str, dict[str, Any]]:
    """The bill of so many conversations, with each choice of policies."""
    turns = conversations(count, seed)
    sides: dict[str, Callable[[], list[Policy]]] = {
        "neither": list,
        "cache": lambda: [ReplyCache()],
        "cache for everyone": lambda: [ReplyCache(scope="everyone")],
        "routing": lambda: [ModelRouting(routing.rules())],
        "both": lambda: [ReplyCache(), ModelRouting(routing.rules())],
        "both for everyone": lambda: [ReplyCache(scope="everyone"), ModelRouting(routing.rules())],
    }
    rows = {name: play(turns, policies()) for name, policies in sides.items()}
    first = Decimal(rows["neither"]["cost"])
    for row in rows.values():
        row["saved"] = round(1 - float(Decimal(row["cost"]) / first), 4)
    return rows


def measure_cpu(rounds: int) -> dict[str, float]:
    """What the policies cost in CPU time."""
    server = CannedServer()
    client = server.client()
    assistant = Assistant(LARGE, INSTRUCTIONS)
    sides: dict[str, list[Policy]] = {
        "turn": [],
        "cache_no_part": [ReplyCache(scope="everyone")],
        "cache_miss": [ReplyCache(scope="everyone")],
        "routing": [ModelRouting(routing.idle_rules())],
    }
    bots = {name: AssistantGuard(client, assistant, policies, sinks=[]) for name, policies in sides.items()}
    threads = {name: bot.thread() for name, bot in bots.items()}
    threads["cache_no_part"] = bots["cache_no_part"].thread(conversation_id="conv_1")
    tokens.wait_until_ready()
    numbers = iter(range(1_000_000))

    def turn(name: str) -> float:
        text = f"{routing.PLAIN} That was number {next(numbers)}."
        return _timed(lambda: threads[name].chat(text))

    bots["cache_miss"].thread().chat(routing.PLAIN)
    names = list(sides)
    for name in names * WARM_UP:
        turn(name)
    taken: dict[str, list[float]] = {name: [] for name in [*names, "hit", "asked"]}
    gc.collect()
    gc.disable()  # a collection would count for the turn that it falls into
    try:
        for number in range(rounds):
            for step in range(BATCH):
                first = (number + step) % len(names)
                for name in names[first:] + names[:first]:
                    taken[name].append(turn(name))
            for name, side in (("hit", "cache_miss"), ("asked", "turn")):
                thread = bots[side].thread()
                taken[name].append(_timed(lambda thread=thread: thread.chat(routing.PLAIN)))  # type: ignore[misc]
            gc.collect()
    finally:
        gc.enable()
    assert bots["cache_miss"].thread().chat(routing.PLAIN).cached
    for bot in bots.values():
        bot.close()
    client.close()
    figures = {name: statistics.median(taken[name]) for name in ("turn", "hit", "asked")}
    for name in names[1:]:
        pairs = zip(taken[name], taken["turn"], strict=True)
        figures[name] = statistics.median(added - without for added, without in pairs)
    figures["cache_miss_alone"] = measure_alone(rounds)
    rules = routing.measure_cpu(rounds)
    figures["routing_rules"], figures["routing_rules_and_downgrade"] = rules["rules"], rules["rules_and_downgrade"]
    return {name: round(value, 1) for name, value in figures.items()}


def measure_alone(batches: int) -> float:
    """Microseconds of CPU time that the cache takes for a miss whose reply is kept; the median of the batches."""
    client = CannedServer().client()
    with AssistantGuard(client, Assistant(LARGE, INSTRUCTIONS), [ReplyCache(scope="everyone")], sinks=[]) as bot:
        engine = bot._engine  # noqa: SLF001 - what a turn asks is asked without the rest of the turn
        cache = engine.cached
        assert cache is not None
        item = {"type": "message", "content": [{"type": "output_text", "text": TEXT}]}
        answer = ModelAnswer("resp_1", "completed", TEXT, (), Usage(20, 0, 0, 40, 0, 0, 1), LARGE, output=[item])
        outcome = Outcome(answer)
        thread = ThreadState("thread", generation_id="conv_1")
        taken: list[float] = []
        for batch in range(batches):
            texts = [f"{routing.PLAIN} That was {batch}, {number}." for number in range(BATCH)]
            runs = [new_run(thread, engine.session, text, time.time()) for text in texts]

            def miss(runs: list[RunState] = runs) -> None:
                for run in runs:
                    thread.context_digest = EMPTY
                    if block_on(cache.answer(thread, run)):
                        raise RuntimeError("a question that nobody asked was answered")
                    cache.saw(run, outcome)
                    run.text, run.status = TEXT, "completed"
                    cache.conclude(thread, run)

            taken.append(_timed(miss) / BATCH)
    client.close()
    return statistics.median(taken)


def _timed(work: Callable[[], object]) -> float:
    """Microseconds of this thread's CPU time."""
    began = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began) / 1e3


def show(document: dict[str, Any]) -> None:
    """Print the figures for people."""
    cpu = document["cpu_us"]
    print(
        f"{'':20}{'turns':>7}{'cached':>8}{'calls':>7}{'tokens':>10}{'US dollars':>12}{'saved':>7}"
        f"{'hard on large':>15}  calls by model"
    )
    for name, row in document["saved"].items():
        share = "-" if row["hard_on_large"] is None else f"{row['hard_on_large']:.0%}"
        made = ", ".join(f"{model} {count:,}" for model, count in row["calls_by_model"].items())
        print(
            f"{name:20}{row['turns']:>7,}{row['cached']:>8,}{row['calls']:>7,}{row['tokens']:>10,}"
            f"{Decimal(row['cost']):>12.6f}{row['saved']:>7.0%}{share:>15}  {made}"
        )
    print(f"\nCPU of a turn: {cpu['turn']:,.0f} µs. Where they do nothing, they add (aim: below {AIM} µs each):")
    print(f"  the cache, a turn that has no part in it      {cpu['cache_no_part']:7.1f} µs")
    print(f"  the cache, a miss whose reply is then kept    {cpu['cache_miss']:7.1f} µs")
    print(f"    the cache's part without the rest of it     {cpu['cache_miss_alone']:7.1f} µs")
    print(f"  routing, rules that choose nothing            {cpu['routing']:7.1f} µs")
    print(f"    the rules without the rest of the turn      {cpu['routing_rules']:7.1f} µs")
    print(f"    likewise, with a downgrade and its budget   {cpu['routing_rules_and_downgrade']:7.1f} µs")
    print(f"CPU of a first turn: {cpu['asked']:,.0f} µs asked, {cpu['hit']:,.0f} µs from the cache")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replies", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--turns", type=int, default=400, help="conversations to have (400)")
    parser.add_argument("--rounds", type=int, default=50, help=f"rounds of {BATCH} turns for the CPU times (50)")
    parser.add_argument("--seed", type=int, default=1, help="of the workload (1)")
    options = parser.parse_args(arguments)
    if options.turns < 1 or options.rounds < 1:
        parser.error("--turns and --rounds must be at least 1")
    document = {"saved": measure_saved(options.turns, options.seed), "cpu_us": measure_cpu(options.rounds)}
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


if __name__ == "__main__":
    main()
