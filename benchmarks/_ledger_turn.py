"""CPU time of a guarded turn whose books are in SQLite, beside one whose books are in memory."""

from __future__ import annotations

import gc
import statistics
import time
from pathlib import Path
from typing import Any

from assistantguard import AssistantGuard, MemoryLedger, tokens
from assistantguard.ledger import Ledger, open_ledger
from benchmarks._sides import BATCH, WARM_UP, assistant
from benchmarks.canned import CannedServer
from benchmarks.overhead import MESSAGES

__all__ = ["measure_turn"]


def measure_turn(directory: Path, turns: int) -> dict[str, Any]:
    """Measure blocking turns, plain ones and such with a tool call, as `benchmarks.overhead` does."""
    database = open_ledger(f"sqlite:///{directory / 'turns.db'}")
    books: dict[str, Ledger] = {"memory": MemoryLedger(), "sqlite": database}
    server = CannedServer()
    client = server.client()
    bots = {name: AssistantGuard(client, assistant(), ledger=ledger) for name, ledger in books.items()}
    tokens.wait_until_ready()
    rounds: list[dict[str, float]] = []
    for number in range(-WARM_UP, max(1, turns // BATCH)):
        seconds = dict.fromkeys(bots, 0.0)
        for message in MESSAGES.values():
            for name in sorted(bots, reverse=number % 2 == 0):
                turn = bots[name].thread().chat
                turn(message)
                gc.collect()
                began = time.process_time()
                for _ in range(BATCH):
                    turn(message)
                seconds[name] += time.process_time() - began
        if number >= 0:
            rounds.append(seconds)
    client.close()
    database.database.close()
    figures = {
        f"{name}_us": round(statistics.median(row[name] for row in rounds) / BATCH / len(MESSAGES) * 1e6, 1)
        for name in bots
    }
    return {"ratio": round(statistics.median(row["sqlite"] / row["memory"] for row in rounds), 4), **figures}
