"""Events and histories for the tests of advice, in our own words and figures."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from assistantguard.prices import Price, PriceBook

Line = dict[str, Any]

MODEL = "test-model"
CHEAP = "cheap-model"
PRICES = PriceBook(
    {
        MODEL: Price(input="10", cached_input="1", output="100"),
        CHEAP: Price(input="1", cached_input="0.1", output="10"),
    }
)
START = 1_800_000_000.0


def cost_of(input_tokens: int, cached: int, output: int) -> Decimal:
    """What a call of `MODEL` costs, by hand."""
    return Decimal(10 * (input_tokens - cached) + cached + 100 * output) / 1_000_000


class Log:
    """Writes events as a guard would for threads whose every call finds what it can in the prompt cache."""

    def __init__(self, fixed: int = 500, model: str = MODEL) -> None:
        self.lines: list[Line] = []
        self.fixed = fixed
        self.model = model
        self.time = START
        self.cost = Decimal(0)
        self._context: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._runs = 0

    def tell(self, event: str, thread: str = "t", **fields: Any) -> None:
        self.lines.append({"event": event, "time": self.time, "session_id": "s", "thread_id": thread, **fields})

    def turn(
        self,
        message: int,
        answer: int = 50,
        *,
        steps: int = 0,
        tool: int = 100,
        thread: str = "t",
        pause: float = 10.0,
        finds: bool = True,
        **settled: Any,
    ) -> None:
        """A message, `steps` tool steps that ask in 20 tokens and are answered in `tool`, and an answer."""
        self.time += pause
        self._runs += 1
        run = f"run_{self._runs}"
        known = thread in self._context
        context = self._context.get(thread, 0)
        self.tell("turn.started", thread, turn=1, generation=1, generation_turns=int(known), context_tokens=context)
        self.tell("run.started", thread, run_id=run, model=self.model)
        size = context if known else self.fixed
        for call in range(steps + 1):
            size += message if call == 0 else tool
            written = answer if call == steps else 20
            self._call(thread, run, size, written, finds=finds)
            size += written
        self._context[thread] = size
        self.tell(
            "run.settled",
            thread,
            run_id=run,
            model=self.model,
            status="completed",
            steps=steps,
            context_tokens=size,
            **{"fixed_tokens": self.fixed, **settled},
        )

    def _call(self, thread: str, run: str, size: int, written: int, *, finds: bool) -> None:
        read = self._read.get(thread, 0)
        cached = read // 128 * 128 if read >= 1_024 and finds else 0
        cost = cost_of(size, cached, written)
        self.cost += cost
        self._read[thread] = size
        self.tell(
            "request.settled",
            thread,
            run_id=run,
            model=self.model,
            purpose="run",
            attempt=1,
            status="completed",
            input_tokens=size,
            cached_tokens=cached,
            output_tokens=written,
            cost=str(cost),
        )

    def write(self, path: Path) -> Path:
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        return path
