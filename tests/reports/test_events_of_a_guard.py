from __future__ import annotations

from pathlib import Path

import pytest

from assistantguard import Assistant, AssistantGuard, ThreadRotation, ToolStepCeiling, ToolStepCeilingReached
from assistantguard.reports import read_report
from assistantguard.sandbox import FunctionCall, Sandbox

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


class Bot(AssistantGuard):
    def dispatch_tool(self, call: object) -> str:
        return "nothing to see"


def test_the_report_of_a_guard_s_events_equals_what_the_sandbox_billed(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    answers: list[str | FunctionCall] = [
        "Hello.",
        FunctionCall("look"),
        "I looked.",
        *(FunctionCall("look"),) * 2,
        "Bye.",
    ]
    with (
        Sandbox(answers) as sandbox,
        Bot(
            sandbox.client(),
            Assistant("gpt-6-luna", tools=[TOOL]),
            policies=[ThreadRotation(2), ToolStepCeiling(1)],
            sinks=[],
            events=events,
        ) as bot,
    ):
        bot.chat("Hi")
        bot.chat("Look, please")
        with pytest.raises(ToolStepCeilingReached):
            bot.chat("Look and look")
        bot.chat("Goodbye")

    report = read_report(events)

    billed = sandbox.billing.totals
    assert report.books.total.count == billed.requests == 6
    assert report.books.total.input_tokens == billed.input_tokens
    assert report.books.total.output_tokens == billed.output_tokens
    assert report.books.total.cost == billed.cost
    assert sum(report.runs.values()) == 4
    assert report.stops == {"ToolStepCeiling": 1}
    assert sum(report.rotations.values()) == 1
    assert report.tools["look"].calls == 2
    assert not report.unknown
    assert not report.bad.count
