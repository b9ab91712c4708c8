"""What the drop-in costs: CPU and wall time of a turn, and how soon the caller knows that a run has ended.

::

    python -m benchmarks.dropin [--turns 200] [--waits 5] [--json]

A turn through the drop-in is ``messages.create`` and ``runs.create_and_poll``; by hand it is one ``responses.create``
on a conversation, with the same instructions and message. Both talk to one in-process transport whose answers are made
beforehand, in batches one after the other; a ratio is taken within a round, and the median round counts. CPU is that
of the whole process, since the drop-in drives runs in threads.

The latency is the time from the moment in which the server gives its answer, half a second after it was asked, until
the caller has the completed run: with ``create_and_poll``, and with a loop of the application's own that looks once a
second, as the SDK does where no server tells it better.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import assistantguard
from assistantguard import tokens
from benchmarks._sides import BATCH, INSTRUCTIONS, MODEL, WARM_UP
from benchmarks.canned import TEXT, CannedServer

__all__ = ["main", "measure"]

MESSAGE = "Where is order W1000001?"
ANSWER_SECONDS = 0.5


class SlowServer(CannedServer):
    """Takes its time over answers, and notes when each was given."""

    def __init__(self) -> None:
        super().__init__()
        self.answered_at = 0.0

    def _answer(self, request: Any) -> Any:
        if request.url.path.endswith("/responses"):
            time.sleep(ANSWER_SECONDS)
            self.answered_at = time.perf_counter()
        return super()._answer(request)


def through_drop_in(client: Any) -> Callable[[], Callable[[], None]]:
    """Begins threads whose turns go through the drop-in."""
    assistant = client.beta.assistants.create(model=MODEL, instructions=INSTRUCTIONS)

    def begin() -> Callable[[], None]:
        thread = client.beta.threads.create()

        def turn() -> None:
            client.beta.threads.messages.create(thread.id, role="user", content=MESSAGE)
            run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
            if run.status != "completed":
                raise RuntimeError(f"a run ended {run.status}: {run.last_error}")

        return turn

    return begin


def by_hand(client: Any) -> Callable[[], Callable[[], None]]:
    """Begins conversations whose turns are written by hand."""

    def begin() -> Callable[[], None]:
        conversation = client.conversations.create().id

        def turn() -> None:
            item = {"type": "message", "role": "user", "content": MESSAGE}
            answer = client.responses.create(
                model=MODEL, instructions=INSTRUCTIONS, conversation=conversation, input=[item]
            )
            if answer.output_text != TEXT:
                raise RuntimeError(f"the answer is {answer.output_text!r}")

        return turn

    return begin


def measure_turns(turns: int) -> dict[str, dict[str, float]]:
    """CPU and wall time of a turn on each side, and their ratios."""
    server = CannedServer()
    client = server.client()
    sides = {"dropin": through_drop_in(assistantguard.drop_in(client, sinks=[])), "by_hand": by_hand(client)}
    tokens.wait_until_ready()
    clocks = {"cpu": time.process_time, "wall": time.perf_counter}
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(-WARM_UP, max(1, turns // BATCH)):
        row: dict[str, dict[str, float]] = {name: {} for name in clocks}
        for side in sorted(sides, reverse=number % 2 == 0):
            turn = sides[side]()
            turn()
            gc.collect()
            began = {name: clock() for name, clock in clocks.items()}
            for _ in range(BATCH):
                turn()
            for name, clock in clocks.items():
                row[name][side] = (clock() - began[name]) / BATCH
        if number >= 0:
            rounds.append(row)
    client.close()
    return {
        name: {
            "ratio": round(statistics.median(row[name]["dropin"] / row[name]["by_hand"] for row in rounds), 3),
            **{f"{side}_us": round(statistics.median(row[name][side] for row in rounds) * 1e6, 1) for side in sides},
        }
        for name in clocks
    }


def measure_latency(waits: int) -> dict[str, float]:
    """Milliseconds from the end of a run until its caller knows it, polled by the SDK's helper and once a second."""
    server = SlowServer()
    client = assistantguard.drop_in(server.client(), sinks=[])
    tokens.wait_until_ready()
    turn = through_drop_in(client)()
    turn()
    helped: list[float] = []
    for _ in range(waits):
        turn()
        helped.append(time.perf_counter() - server.answered_at)
    assistant = client.beta.assistants.create(model=MODEL, instructions=INSTRUCTIONS)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": MESSAGE}])
    looked: list[float] = []
    for _ in range(waits):
        run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
        while run.status != "completed":
            time.sleep(1.0)
            run = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
        looked.append(time.perf_counter() - server.answered_at)
    client.close()
    return {
        "latency_ms": round(statistics.median(helped) * 1e3, 1),
        "latency_longest_ms": round(max(helped) * 1e3, 1),
        "one_second_polling_ms": round(statistics.median(looked) * 1e3, 1),
    }


def measure(turns: int, waits: int) -> dict[str, Any]:
    """Measure everything.

    Args:
        turns: Of each side, in batches.
        waits: Runs of each kind whose end is waited for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's, for the whole of client.beta
        return {**measure_turns(turns), **measure_latency(waits)}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dropin", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--turns", type=int, default=200, help="turns of each side (default 200)")
    parser.add_argument("--waits", type=int, default=5, help="runs whose end is waited for, of each kind (default 5)")
    options = parser.parse_args(arguments)
    if options.turns < BATCH:
        parser.error(f"--turns is {options.turns}, the least is one batch: {BATCH}")
    if options.waits < 1:
        parser.error(f"--waits is {options.waits}, the least is 1")
    figures = measure(options.turns, options.waits)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name in ("cpu", "wall"):
        row = figures[name]
        print(
            f"{name:5} of a turn   drop-in {row['dropin_us']:8.0f} us   by hand {row['by_hand_us']:8.0f} us"
            f"   x {row['ratio']:.3f}"
        )
    print(
        f"from a run's end to the caller's knowing it   {figures['latency_ms']:.1f} ms (longest"
        f" {figures['latency_longest_ms']:.1f})   looking once a second {figures['one_second_polling_ms']:.1f} ms"
    )


if __name__ == "__main__":
    main()
