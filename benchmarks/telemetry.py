"""CPU time that each sink adds to a turn.

::

    python -m benchmarks.telemetry [--json] [--turns N]

Guards that differ in their sinks alone talk to one canned server in the process. A *plain* turn is a message and a text
(four events, three spans); a *tool* turn is a message, a tool call, its output and a text (seven events, five spans). A
round is a batch of each kind on each guard, one after the other; of each batch the median turn counts, and what was
queued is written, or handed to the exporter, at its end and counted with it. What a sink adds is the difference to the
guard without sinks in the same round, where both met the same machine. Given are medians over the rounds, in
microseconds of CPU time of the whole process, with all its threads, for the mean of one plain and one tool turn.
Compare runs by ``turn_us``: it grows with all else on a machine that is busy.

structlog is set up as the chapter on performance of its documentation does it: JSON with a time stamp and a level,
loggers that are kept, and from the level ``info`` on; ``debug`` is the same with every event of ours written.
OpenTelemetry has the SDK's batch processor, an exporter that drops what it gets, so that no wire format is measured,
and a metric reader; ``unsampled`` is the same with a sampler that takes nothing, where metrics go on. ``sdk_alone_us``
is what the SDK takes by itself for the same spans and measurements: recorded once, and made again by a loop after each
turn of the guard without sinks, so that it too meets a processor that did something else before.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from assistantguard import AssistantGuard, JsonLinesSink, OpenTelemetrySink, StructlogSink, tokens
from assistantguard.telemetry import Sink, jsonl
from benchmarks._sides import BATCH, WARM_UP, assistant
from benchmarks._telemetry_alone import Recorded
from benchmarks.canned import CannedServer
from benchmarks.overhead import MESSAGES

__all__ = ["AIMS", "main", "measure"]

AIMS = {"structlog info + json lines": 100.0, "structlog info + json lines + opentelemetry": 200.0}
"""Microseconds a turn, at most."""
BASE = "none"


class Dropping(SpanExporter):
    """Takes spans, and drops them."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


class Side:
    """A guard with some sinks."""

    def __init__(
        self, server: CannedServer, sinks: list[Sink], flushes: list[Callable[[], Any]], configure: Callable[[], None]
    ) -> None:
        self.bot = AssistantGuard(server.client(), assistant(), sinks=sinks)
        self._flushes = flushes
        self._configure = configure

    def seconds(self, message: str) -> float:
        """CPU seconds of a turn, on a new thread: the median of a batch, and a share of writing what it queued."""
        self._configure()
        turn = partial(self.bot.thread().chat, message)
        turn()
        return _seconds(turn, self._flush)

    def seconds_after(self, message: str, work: Callable[[], None], flush: Callable[[], Any]) -> float:
        """CPU seconds of `work` where it follows a turn, counted as a turn's are."""
        turn = partial(self.bot.thread().chat, message)
        turn()
        return _seconds(work, flush, before=turn)

    def _flush(self) -> None:
        for flush in self._flushes:
            flush()


def _seconds(work: Callable[[], Any], flush: Callable[[], Any], before: Callable[[], Any] | None = None) -> float:
    flush()
    gc.collect()
    taken: list[float] = []
    for _ in range(BATCH):
        if before is not None:
            before()
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    began = time.process_time()
    flush()
    return statistics.median(taken) + (time.process_time() - began) / BATCH


@contextlib.contextmanager
def sides() -> Iterator[dict[str, Side]]:
    """A guard for each way of telling."""
    server = CannedServer()
    with contextlib.ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        ends.enter_context(mock.patch.object(jsonl, "_GATHER", 60.0))  # what one side queued is not another's time
        nowhere = ends.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        ends.callback(structlog.reset_defaults)

        def side(*names: str) -> Side:
            sinks: list[Sink] = []
            flushes: list[Callable[[], Any]] = []
            level = logging.DEBUG
            for name in names:
                if name.startswith("structlog"):
                    sinks.append(StructlogSink())
                    level = logging.INFO if name.endswith("info") else logging.DEBUG
                elif name == "json lines":
                    lines = ends.enter_context(JsonLinesSink(folder / f"{uuid.uuid4().hex}.jsonl"))
                    sinks.append(lines)
                    flushes.append(lines.flush)
                else:
                    tracers, meters = _providers(ALWAYS_OFF if name.endswith("unsampled") else ALWAYS_ON, ends)
                    sinks.append(OpenTelemetrySink(tracers, meters))
                    flushes.append(tracers.force_flush)
            made = Side(server, sinks, flushes, partial(_configure, level, nowhere))
            ends.callback(made.bot.close)
            return made

        ways = (
            ("structlog debug",),
            ("structlog info",),
            ("json lines",),
            ("opentelemetry",),
            ("opentelemetry unsampled",),
            ("structlog info", "json lines"),
            ("structlog info", "json lines", "opentelemetry"),
        )
        yield {BASE: side(), **{" + ".join(way): side(*way) for way in ways}}


def _providers(sampler: Sampler, ends: contextlib.ExitStack) -> tuple[TracerProvider, MeterProvider]:
    tracers = TracerProvider(sampler=sampler)
    tracers.add_span_processor(BatchSpanProcessor(Dropping()))
    meters = MeterProvider([InMemoryMetricReader()])
    ends.callback(tracers.shutdown)
    ends.callback(meters.shutdown)
    return tracers, meters


def _configure(level: int, file: TextIO) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file),
        cache_logger_on_first_use=True,
    )


def measure(turns: int) -> dict[str, Any]:
    """Measure every way of telling.

    Args:
        turns: Turns of each kind and way, in batches of `BATCH`.

    Returns:
        ``turn_us`` is a turn without sinks; ``adds_us`` what each way adds to it, and ``aims_us`` what it may at most;
        ``sdk_alone_us`` what the SDK of OpenTelemetry takes by itself for the same spans and measurements.
    """
    added: dict[str, list[float]] = {}
    taken: list[float] = []
    alone: list[float] = []
    with sides() as all_sides, contextlib.ExitStack() as ends:
        tracers, meters = _providers(ALWAYS_ON, ends)
        works = {message: Recorded(CannedServer(), message).on(tracers, meters) for message in MESSAGES.values()}
        tokens.wait_until_ready()
        for number in range(-WARM_UP, turns // BATCH):
            seconds = dict.fromkeys(all_sides, 0.0)
            for message in MESSAGES.values():
                for name in all_sides if number % 2 else reversed(all_sides):
                    seconds[name] += all_sides[name].seconds(message) / len(MESSAGES)
            by_itself = sum(
                all_sides[BASE].seconds_after(message, work, tracers.force_flush) for message, work in works.items()
            )
            if number < 0:
                continue
            alone.append(by_itself / len(works))
            base = seconds.pop(BASE)
            taken.append(base)
            for name, turn in seconds.items():
                added.setdefault(name, []).append(turn - base)
    return {
        "turn_us": round(statistics.median(taken) * 1e6, 1),
        "adds_us": {name: round(statistics.median(more) * 1e6, 1) for name, more in added.items()},
        "sdk_alone_us": round(statistics.median(alone) * 1e6, 1),
        "aims_us": AIMS,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--turns", type=int, default=400, help="turns of each kind and way (default 400)")
    options = parser.parse_args(arguments)
    if options.turns < BATCH:
        parser.error(f"--turns is {options.turns}, the least is one batch: {BATCH}")
    figures = measure(options.turns)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"a turn without sinks {figures['turn_us']:29.1f} us")
    for name, added in figures["adds_us"].items():
        aim = f"   (aim: under {AIMS[name]:.0f} us)" if name in AIMS else ""
        print(f"  {name:46} + {added:6.1f} us{aim}")
    print(f"the OpenTelemetry SDK by itself, for the same {figures['sdk_alone_us']:11.1f} us")


if __name__ == "__main__":
    main()
