"""Made-up events of many threads, as a guard's telemetry writes them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["events", "runs_in", "write_events"]

MODELS = ("gpt-6-luna", "gpt-6-luna", "gpt-6-luna", "gpt-6-terra", "gpt-5-mini")
_PRICES = {"gpt-6-luna": (250, 2000), "gpt-6-terra": (1250, 10_000), "gpt-5-mini": (100, 800)}
"""Of an input and an output token, in billionths of a US dollar."""
_STEPS = (0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4)
_ROTATE_AT = 12_000
"""Tokens of context."""
_FIXED = 700
"""Tokens of every context."""
BEGIN = 1_793_491_200.0
"""Unix time: 2026-11-01."""


def events(*, threads: int, users: int, days: float, runs: int, seed: int = 7) -> Iterator[dict[str, Any]]:
    """The events of `runs` runs, spread evenly over `days`."""
    chance = random.Random(seed)
    contexts: dict[int, int] = {}
    for number in range(runs):
        which = number if threads >= runs else int(threads * chance.random() ** 2)
        time = BEGIN + days * 86_400 * number / runs
        model = MODELS[which % len(MODELS)]
        head = {"time": time, "session_id": "made up", "thread_id": f"thread-{which:07}"}
        run = {**head, "run_id": f"run_{number:08}", "model": model}
        owner = {"user": f"user-{which % users:06}"}
        context = contexts.get(which, _FIXED)
        yield {"event": "turn.started", **head, "turn": 1, "generation": 1, "context_tokens": context}
        yield {"event": "run.started", **run}
        if number % 60 == 59:
            yield _retry(run)
        steps = 14 if number % 400 == 399 else chance.choice(_STEPS)
        sums, cost = [0, 0, 0], Decimal(0)
        for step in range(steps + 1):
            used, price = _request(chance, context, model)
            sums = [one + other for one, other in zip(sums, used, strict=True)]
            cost += price
            context += used[2] + 40
            expected = int(used[0] * chance.gauss(1, 0.03))
            yield _settled(run, owner, used, price, expected)
            if step < steps:
                tool = "find_order" if step % 2 else "search"
                yield {"event": "run.step", **run, "step": step + 1, "calls": 1, "tools": [tool]}
                yield _tool(run, tool, failed=number % 37 == 0)
        status = "completed"
        if steps > 10:
            status = "cancelled"
            why = {"policy": "ToolStepCeiling", "reason": f"{steps} of {steps} steps are used up"}
            yield {"event": "run.cancelled", **run, "steps": steps, "calls": steps, **why}
        yield _ended(run, owner, sums, cost, steps, status, context, chance.uniform(0.6, 9.0))
        if number % 150 == 149:
            yield _refusal(head, owner)
        if number % 500 == 250:
            yield _heal(head)
        if context > _ROTATE_AT:
            yield _rotation(head, context)
            context = _FIXED + 1100
        contexts[which] = context


def write_events(path: Path, count: int, *, threads: int, users: int, days: float = 28.0) -> None:
    """Write `count` events as JSON lines."""
    made = events(threads=threads, users=users, days=days, runs=runs_in(count))
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in islice(made, count))


def runs_in(count: int) -> int:
    """How many runs have about `count` events, and not fewer."""
    return max(1, count // 6)


def _request(chance: random.Random, context: int, model: str) -> tuple[tuple[int, int, int], Decimal]:
    read, written = context + chance.randint(10, 400), chance.randint(40, 700)
    cached = context // 128 * 128 if context > 1024 and chance.random() < 0.8 else 0
    dear, output = _PRICES[model]
    price = Decimal((read - cached) * dear + cached * dear // 10 + written * output).scaleb(-9)
    return (read, cached, written), price


def _usage(used: tuple[int, int, int] | list[int], requests: int = 1) -> dict[str, Any]:
    read, cached, written = used
    return {
        "input_tokens": read,
        "cached_tokens": cached,
        "cache_write_tokens": 0,
        "output_tokens": written,
        "reasoning_tokens": written // 5,
        "estimated_tokens": 0,
        "requests": requests,
    }


def _settled(
    run: dict[str, Any], owner: dict[str, str], used: tuple[int, int, int], price: Decimal, expected: int
) -> dict[str, Any]:
    more = {"purpose": "run", "attempt": 1, "status": "completed", "cost": str(price), "seconds": 1.2}
    return {"event": "request.settled", **run, **more, **_usage(used)} | {
        "estimated_input_tokens": expected,
        "exact": False,
        "response_id": "resp_1",
        "price_source": "made up",
        "background": False,
        **owner,
    }


def _ended(
    run: dict[str, Any],
    owner: dict[str, str],
    sums: list[int],
    cost: Decimal,
    steps: int,
    status: str,
    context: int,
    seconds: float,
) -> dict[str, Any]:
    return {"event": "run.settled", **run, "status": status, "steps": steps, "calls": steps, "retries": 0} | {
        **_usage(sums, steps + 1),
        "cost": str(cost),
        "seconds": seconds,
        "context_tokens": context,
        "generation": 1,
        **owner,
    }


def _tool(run: dict[str, Any], tool: str, *, failed: bool) -> dict[str, Any]:
    return {"event": "tool.settled", **run, "call_id": "call_1", "tool": tool, "seconds": 0.2, "failed": failed}


def _retry(run: dict[str, Any]) -> dict[str, Any]:
    more = {"attempt": 1, "kind": "transient", "wait": 0.5, "policy": "TransientRetry", "code": "rate_limit_exceeded"}
    return {"event": "run.retried", **run, **more, "reason": "429 rate_limit_exceeded: try again in 500 ms"}


def _refusal(head: dict[str, Any], owner: dict[str, str]) -> dict[str, Any]:
    more = {"account": "user", "metric": "cost", "kind": "exceeded", "limit": "5", "committed": "5", "held": "0"}
    return {"event": "budget.refused", **head, **more, "policy": "Budget", "reason": "$5.00 of $5.00 are spent"} | owner


def _heal(head: dict[str, Any]) -> dict[str, Any]:
    more = {"generation_id": "conv_1", "answered_calls": 1, "deleted_items": 2, "reason": "a tool call had no output"}
    return {"event": "thread.healed", **head, **more}


def _rotation(head: dict[str, Any], context: int) -> dict[str, Any]:
    more = {"generation": 2, "to_generation_id": "conv_2", "turns": 12, "context_tokens": context}
    why = {"policy": "ThreadRotation", "reason": f"{context:,} tokens of context are more than {_ROTATE_AT:,}"}
    carried = {"carried_tokens": 1100, "carried_items": 4, "old": "deleted"}
    return {"event": "thread.rotated", **head, **more, **carried, **why}
