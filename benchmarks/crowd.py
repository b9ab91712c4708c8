"""A hundred users with three threads each, through four processes on one database: budgets, leaks, memory.

::

    python -m benchmarks.crowd [--users 100] [--turns 20000] [--processes 4] [--database sqlite|postgresql] [--json]

Every process answers for every user. Each user has a budget of tokens that is too small for all of the turns, and the
application has one. About one turn in twenty is followed by an attempt to reach another's thread: by its id, by
archiving, deleting or switching to it, and by names that try to be SQL, wildcards, paths or somebody else's.

In the end the books are held against the sandbox's bill, user by user: what was billed must be what is booked, and no
user, nor the application, may have passed its budget by a token.

The exit code is 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import openai

from assistantguard import AssistantGuard
from assistantguard.sandbox import Sandbox
from benchmarks._crowd_worker import API_KEY, Crowd, Report, answer, run_worker, settings, user_name
from benchmarks._postgres import PostgresServer

__all__ = ["main", "measure"]

_MUST_BE_ZERO = ("tokens_over_budget", "leaks", "users_booked_wrong", "holds_open", "errors")
_TOKENS_PER_TURN = 150
"""So many that some users spend their budget, and some do not."""
_GROWTH = 1.1
"""How many times the memory at a quarter of the turns the memory at the end may be."""


def measure(database: str, users: int, turns: int, processes: int, seed: int) -> dict[str, Any]:
    """Let the crowd talk, and return the figures."""
    context = multiprocessing.get_context("spawn")
    tokens_per_user = _TOKENS_PER_TURN * turns // users
    began = time.monotonic()
    with Sandbox(answer, model_in_thread=False, api_key=API_KEY, keep_responses=1_000, log_requests=False) as sandbox:
        crowd = Crowd(sandbox.base_url, database, users, tokens_per_user, seed)
        _open(crowd)
        reports: list[Report] = []
        lines = {}
        for number in range(processes):
            ours, theirs = context.Pipe()
            worker = context.Process(target=run_worker, args=(theirs, crowd, number, turns // processes), daemon=True)
            worker.start()
            theirs.close()
            lines[ours] = worker
        done = 0
        while lines:
            for line in wait(list(lines)):
                try:
                    heard = cast("Connection", line).recv()
                except EOFError:
                    raise RuntimeError("a process of the crowd died") from None
                if isinstance(heard, Report):
                    reports.append(heard)
                    lines.pop(cast("Connection", line)).join()
                    continue
                done += heard
                print(f"\r{done:7} of {turns} turns", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        seconds = time.monotonic() - began
        return {**_judge(crowd, sandbox), **_seen(reports, seconds)}


def _open(crowd: Crowd) -> None:
    """Make the schema, so that the processes do not all begin with it."""
    with openai.OpenAI(api_key=API_KEY, base_url=crowd.base_url) as client:
        AssistantGuard(client, **settings(crowd)).close()


def _judge(crowd: Crowd, sandbox: Sandbox) -> dict[str, Any]:
    with openai.OpenAI(api_key=API_KEY, base_url=crowd.base_url) as client:
        guard = AssistantGuard(client, **settings(crowd))
        entries = guard.ledger.entries()
        whose = {entry.response_id: entry.user for entry in entries}
        booked: Counter[str | None] = Counter()
        for entry in entries:
            booked[entry.user] += entry.usage.total_tokens
        billed: Counter[str | None] = Counter()
        for call in sandbox.billing.calls:
            if call.billed:
                billed[whose.get(call.response_id)] += call.input_tokens + call.output_tokens
        over = 0
        spent_up = 0
        for number in range(crowd.users):
            for line in guard.budget(user_name(number)).lines:
                over += max(0, int(line.committed + line.held - line.limit))
            spent_up += booked[user_name(number)] > 0.95 * crowd.tokens_per_user
        holds = len(guard.ledger.open_holds())
        guard.close()
    wrong = [user for user in {*booked, *billed} if booked[user] != billed[user]]
    return {
        "users": crowd.users,
        "tokens_per_user": crowd.tokens_per_user,
        "tokens_billed": sum(billed.values()),
        "tokens_booked": sum(booked.values()),
        "users_who_spent_their_budget": spent_up,
        "tokens_over_budget": over,
        "users_booked_wrong": len(wrong),
        "holds_open": holds,
    }


def _seen(reports: list[Report], seconds: float) -> dict[str, Any]:
    start = sum(report.memory[0] for report in reports)
    end = sum(report.memory[-1] for report in reports)
    turns = sum(report.turns for report in reports)
    errors: Counter[str] = sum((report.errors for report in reports), Counter())
    return {
        "turns": turns,
        "refused": sum(report.refused for report in reports),
        "errors": sum(errors.values()),
        "turns_per_second": round(turns / seconds, 1),
        "probes": sum(report.probes for report in reports),
        "leaks": sum(len(report.leaks) for report in reports),
        "memory_at_a_quarter": start,
        "memory_end": end,
        "memory_growth": round(end / start, 3),
        "details": [*(f"{count} x {text}" for text, count in errors.most_common(5))]
        + [leak for report in reports for leak in report.leaks[:5]],
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--turns", type=int, default=20_000, help="over all users and processes (default 20000)")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    least = 4 * options.processes
    if options.users < 2 or options.processes < 1 or options.turns < least:
        parser.error(f"there must be 2 users, 1 process and {least} turns at least: give more")
    with contextlib.ExitStack() as stack:
        if options.database == "sqlite":
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="crowd"))
            url = f"sqlite:///{Path(directory) / 'guard.db'}"
        else:
            url = stack.enter_context(PostgresServer()).url()
        figures = measure(url, options.users, options.turns, options.processes, options.seed)
    figures["wrong"] = [name for name in _MUST_BE_ZERO if figures[name]]
    if figures["memory_growth"] > _GROWTH:
        figures["wrong"].append("memory_end")
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            if name != "details":
                shown = ", ".join(value) or "nothing" if isinstance(value, list) else value
                print(f"{name.replace('_', ' '):32}{shown}")
        for line in figures["details"]:
            print(line, file=sys.stderr)
    if figures["wrong"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
