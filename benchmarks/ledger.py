"""How fast the books are, and that they hold: pairs of reserve and commit, through each kind of ledger.

::

    python -m benchmarks.ledger [--seconds 0.6] [--rounds 5] [--processes 1 4 16] [--turns 200] [--json]

Several processes do pairs as fast as they can, on one hot account and on a thousand, in memory (there each process has
its own books), in SQLite and in PostgreSQL. Beside SQLite the same statements go through `sqlite3` with nothing around
them, with the same durability and the same short random pauses; beside PostgreSQL they go through `pgbench` on the same
server, whose commits wait for the disk, as they do by default. A round is a run of each side, one after the other; a
ratio is taken within a round, and the median round counts. ``longest_wait_ms`` is the longest single call.

Then everybody spends from one account until it is refused: ``overspend`` is the most that was ever seen on it above its
limit, in tokens. Last, the CPU time of a guarded turn with its books in SQLite is compared with one in memory.

``ratio`` of ``sqlite`` is the lower one with four processes (or the most there are below); that of ``postgresql`` is
the lowest of all. The exit code is 1 where anything was overspent or booked wrongly.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistantguard.ledger import open_ledger
from benchmarks._ledger_pgbench import pgbench
from benchmarks._ledger_turn import measure_turn
from benchmarks._ledger_work import HELD, Workers, workers
from benchmarks._postgres import PostgresServer

__all__ = ["main", "measure"]

ACCOUNTS = ("hot", "many")
SPENT_PAIRS = 60
"""Pairs that the limit of the overspending part has room for, about."""


@dataclass(frozen=True, slots=True)
class Store:
    """One kind of ledger, and what it is compared with."""

    name: str
    place: Callable[[], dict[str, Any]]
    """Makes an empty place for books; what workers need to find it."""
    bare: Callable[[dict[str, Any], str, int], float] | None = None
    """Pairs per second of what it is compared with, there, on one account or many, with so many processes."""


def in_sqlite(directory: Path, team: Workers, seconds: float) -> Store:
    """Books in a file."""
    numbers = itertools.count()

    def place() -> dict[str, Any]:
        path = directory / f"books-{next(numbers)}.db"
        return {"through": "ledger", "url": f"sqlite:///{path}", "path": str(path)}

    def bare(place: dict[str, Any], accounts: str, count: int) -> float:
        return _rate(team.do(count, {**place, "through": "sqlite3", "accounts": accounts, "seconds": seconds}))

    return Store("sqlite", place, bare)


def in_postgres(server: PostgresServer, seconds: float) -> Store:
    """Books on a server."""
    numbers = itertools.count()

    def place() -> dict[str, Any]:
        schema = f"books_{next(numbers)}"
        server.psql(f"CREATE SCHEMA {schema}")
        return {"through": "ledger", "url": server.url(schema), "schema": schema}

    def bare(place: dict[str, Any], accounts: str, count: int) -> float:
        return pgbench(server, place["schema"], accounts, count, seconds)

    return Store("postgresql", place, bare)


def measure_store(team: Workers, store: Store, processes: list[int], rounds: int, seconds: float) -> dict[str, Any]:
    """Measure one kind of ledger with so many processes, on one account and on many."""
    runs = []
    for count in processes:
        for accounts in ACCOUNTS:
            place = _ready(store.place())
            rates: list[float] = []
            bare: list[float] = []
            taken: list[int] = []
            longest = 0.0
            for number in range(rounds):
                sides = ("ours", "bare") if number % 2 else ("bare", "ours")
                for side in sides:
                    if side == "ours":
                        told = team.do(count, {**place, "act": "pairs", "accounts": accounts, "seconds": seconds})
                        rates.append(_rate(told))
                        taken += [each for one in told for each in one["taken_us"]]
                        longest = max(longest, *(one["longest"] for one in told))
                    elif store.bare is not None:
                        bare.append(store.bare(place, accounts, count))
            cuts = statistics.quantiles(taken, n=100, method="inclusive")
            run = {
                "processes": count,
                "accounts": accounts,
                "pairs_per_second": round(statistics.median(rates), 1),
                "p50_ms": round(cuts[49] / 1e3, 3),
                "p99_ms": round(cuts[98] / 1e3, 3),
                "longest_wait_ms": round(longest * 1e3, 1),
            }
            if bare:
                run["bare_pairs_per_second"] = round(statistics.median(bare), 1)
                run["ratio"] = round(statistics.median(a / b for a, b in zip(rates, bare, strict=True)), 3)
            runs.append(run)
    return {"runs": runs}


def measure_overspend(team: Workers, store: Store, processes: list[int]) -> dict[str, Any]:
    """Let everybody spend from one account until it is refused."""
    over = wrong = 0
    for count in processes:
        place = store.place()
        limit = SPENT_PAIRS * HELD
        task = {**place, "act": "overspend", "account": "cap", "limit": limit}
        told = team.do(count, task)
        over = max(over, *(one["most"] - limit for one in told))
        if "url" in place:
            ledger = open_ledger(place["url"])
            balance = ledger.balance("cap", "tokens")
            rows = ledger.usage()
            booked = sum(one["booked"] for one in told)
            wrong += balance.committed != booked or rows[0].usage.total_tokens != booked or balance.held != 0
            over = max(over, int(balance.committed + balance.held) - limit)
            ledger.database.close()
    return {"overspend": max(0, over), "booked_wrongly": wrong}


def measure(processes: list[int], rounds: int, seconds: float, turns: int) -> dict[str, Any]:
    """Measure everything.

    Args:
        processes: Each of these many at once.
        rounds: Runs of each side.
        seconds: Of each run.
        turns: Guarded turns of each kind; 0 leaves them out.
    """
    figures: dict[str, Any] = {"overspend": 0, "booked_wrongly": 0}
    with (
        tempfile.TemporaryDirectory() as name,
        PostgresServer() as server,
        workers(max(processes)) as team,
    ):
        memory = Store("memory", lambda: {"through": "memory"})
        for store in (memory, in_sqlite(Path(name), team, seconds), in_postgres(server, seconds)):
            measured = measure_store(team, store, processes, rounds, seconds)
            spent = measure_overspend(team, store, processes)
            for key, value in spent.items():
                figures[key] = max(figures[key], value)
            figures[store.name] = {**_headline(store.name, measured["runs"]), **spent, **measured}
        if turns:
            figures["turn"] = measure_turn(Path(name), turns)
    return figures


def _headline(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that are aimed at: with four processes, or as near as there are."""
    chosen = max((run["processes"] for run in runs if run["processes"] <= 4), default=runs[0]["processes"])
    four = [run for run in runs if run["processes"] == chosen]
    compared = [run["ratio"] for run in (four if name == "sqlite" else runs) if "ratio" in run]
    headline: dict[str, Any] = {"ratio": min(compared)} if compared else {}
    return {**headline, "longest_wait_ms": max(run["longest_wait_ms"] for run in four)}


def _ready(place: dict[str, Any]) -> dict[str, Any]:
    """With its tables made, so that the bare statements find them."""
    if "url" in place:
        open_ledger(place["url"]).database.close()
    return place


def _rate(told: list[dict[str, Any]]) -> float:
    return float(sum(len(one["taken_us"]) / one["seconds"] for one in told))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ledger", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument(
        "--seconds", type=float, default=0.6, help="of each run (default 0.6; pgbench takes at least 1)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side (default 5)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 16], help="at once (default 1 4 16)")
    parser.add_argument("--turns", type=int, default=200, help="guarded turns of each kind (default 200, 0 for none)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error(f"--seconds is {options.seconds}, it must be above 0")
    for name in ("rounds", "processes"):
        for value in [getattr(options, name)] if name == "rounds" else options.processes:
            if value < 1:
                parser.error(f"--{name} is {value}, the least is 1")
    if options.turns < 0:
        parser.error(f"--turns is {options.turns}, the least is 0")
    figures = measure(sorted(set(options.processes)), options.rounds, options.seconds, options.turns)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    if figures["overspend"] or figures["booked_wrongly"]:
        sys.exit(1)


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    print("store       processes  accounts   pairs/s      p50 ms    p99 ms  longest ms      bare/s   ratio")
    for name in ("memory", "sqlite", "postgresql"):
        for run in figures[name]["runs"]:
            line = (
                f"{name:11} {run['processes']:9}  {run['accounts']:8} {run['pairs_per_second']:9.1f}"
                f"   {run['p50_ms']:9.3f} {run['p99_ms']:9.3f}   {run['longest_wait_ms']:9.1f}"
            )
            if "ratio" in run:
                line += f"   {run['bare_pairs_per_second']:9.1f}   {run['ratio']:5.3f}"
            print(line)
    for name in ("sqlite", "postgresql"):
        print(f"\n{name:11} ratio {figures[name]['ratio']:.3f}", end="")
    if "turn" in figures:
        turn = figures["turn"]
        print(
            f"\n\nguarded turn   sqlite {turn['sqlite_us']:.0f} us   memory {turn['memory_us']:.0f} us CPU"
            f"   x {turn['ratio']:.3f}",
            end="",
        )
    print(f"\n\noverspend {figures['overspend']} tokens   booked wrongly {figures['booked_wrongly']}")


if __name__ == "__main__":
    main()
