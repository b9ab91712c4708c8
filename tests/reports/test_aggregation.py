from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from assistantguard.events import (
    BudgetRefusedEvent,
    Event,
    PolicyObserved,
    RequestSettled,
    RunCancelled,
    RunRetried,
    RunSettled,
    RunStarted,
    ThreadHealed,
    ThreadRotated,
    ToolSettled,
)
from assistantguard.models import Usage
from assistantguard.reports import Report, StepCounts, read_report, report_document

BASE: dict[str, Any] = {"time": 100.0, "session_id": "s1"}
USED = Usage(1000, 200, 0, 50, 20, 0, 1)


def request(
    thread: str = "t1",
    model: str = "gpt-6-luna",
    cost: str | None = "0.01",
    usage: Usage = USED,
    purpose: Literal["run", "summary"] = "run",
    time: float = 100.0,
) -> RequestSettled:
    return RequestSettled(
        time=time,
        session_id="s1",
        thread_id=thread,
        run_id="run_1",
        model=model,
        purpose=purpose,
        attempt=1,
        status="completed",
        usage=usage,
        cost=None if cost is None else Decimal(cost),
        seconds=0.5,
        estimated_input_tokens=990,
        exact=False,
    )


def run(
    number: int = 1,
    status: str = "completed",
    steps: int = 0,
    seconds: float = 1.0,
    cost: str | None = "0.02",
    thread: str = "t1",
    tokens: int = 100,
) -> RunSettled:
    return RunSettled(
        **BASE,
        thread_id=thread,
        run_id=f"run_{number}",
        model="gpt-6-luna",
        status=status,
        steps=steps,
        calls=steps,
        retries=0,
        usage=Usage(tokens, 0, 0, 10),
        cost=None if cost is None else Decimal(cost),
        seconds=seconds,
        context_tokens=10,
        generation=1,
    )


def lines(*events: Event | bytes) -> bytes:
    return b"".join(
        (event if isinstance(event, bytes) else json.dumps(event.record()).encode()) + b"\n" for event in events
    )


def read(*events: Event | bytes, top: int = 5) -> Report:
    report = Report(top=top)
    report.read("events.jsonl", io.BytesIO(lines(*events)))
    return report


def test_every_kind_of_event_is_counted_where_it_belongs() -> None:
    report = read(
        RunStarted(**BASE, thread_id="t1", run_id="run_1", model="gpt-6-luna"),
        RunRetried(
            **BASE,
            thread_id="t1",
            run_id="run_1",
            model="gpt-6-luna",
            attempt=1,
            kind="transient",
            wait=0.5,
            policy="TransientRetry",
            reason="busy",
        ),
        RunCancelled(
            **BASE,
            thread_id="t1",
            run_id="run_2",
            model="gpt-6-luna",
            steps=5,
            calls=5,
            policy="ToolStepCeiling",
            reason="too many",
        ),
        BudgetRefusedEvent(
            **BASE,
            thread_id="t1",
            account="session:s1",
            metric="tokens",
            kind="exceeded",
            limit=Decimal(10),
            committed=Decimal(9),
            held=Decimal(0),
            policy="TokenCap",
            reason="spent",
        ),
        ThreadRotated(
            **BASE,
            thread_id="t1",
            generation=2,
            from_generation_id="conv_1",
            to_generation_id="conv_2",
            turns=30,
            context_tokens=9000,
            carried_tokens=1200,
            carried_items=4,
            old="deleted",
            policy="ThreadRotation",
            reason="30 turns",
        ),
        ThreadHealed(
            **BASE, thread_id="t1", generation_id="conv_2", answered_calls=2, deleted_items=1, reason="open calls"
        ),
        PolicyObserved(
            **BASE, thread_id="t1", policy="CostCap", checkpoint="before_request", decision="refuse", reason="dear"
        ),
        ToolSettled(**BASE, thread_id="t1", run_id="run_1", call_id="c1", tool="lookup", seconds=0.25, failed=True),
        run(1, "completed"),
        run(2, "cancelled"),
    )

    assert report.events == 10
    assert report.runs == {"completed": 1, "cancelled": 1}
    assert report.retries == {"transient": 1}
    assert report.stops == {"ToolStepCeiling": 1}
    assert report.refusals == {("TokenCap", "tokens", "exceeded"): 1}
    assert report.rotations == {"ThreadRotation": 1}
    assert report.carried_tokens == 1200
    assert (report.heals, report.answered_calls, report.deleted_items) == (1, 2, 1)
    assert report.observed == {("CostCap", "refuse"): 1}
    assert (report.tools["lookup"].calls, report.tools["lookup"].failed, report.tools["lookup"].seconds) == (
        1,
        1,
        0.25,
    )
    assert not report.bad.count
    assert not report.unknown


def test_tokens_and_cost_are_summed_over_paid_calls_by_thread_and_model() -> None:
    report = read(
        request(),
        request(thread="t2", model="gpt-4o", cost="0.1"),
        request(purpose="summary", model="gpt-4o", cost="0.2"),
        run(cost="9"),
    )

    assert report.source == "requests"
    assert report.books.total.cost == Decimal("0.31")
    assert report.books.total.input_tokens == 3000
    assert report.books.total.reasoning_tokens == 60
    assert report.books.threads["t1"].cost == Decimal("0.21")
    assert report.books.models["gpt-4o"].cached_tokens == 400


def test_without_paid_calls_in_the_file_runs_are_summed_instead() -> None:
    report = read(run(1, cost="0.5"), run(2, cost="0.25", thread="t2"))

    assert report.source == "runs"
    assert report.books.total.cost == Decimal("0.75")
    assert report.books.threads["t2"].count == 1


def test_an_unknown_cost_is_never_zero() -> None:
    report = read(request(), request(cost=None))

    assert report.books.total.cost is None
    assert report.books.total.priced_cost == Decimal("0.01")
    assert report.books.total.unpriced == 1
    assert report_document(report)["total"]["cost"] is None


def test_money_is_added_without_rounding() -> None:
    report = read(*(request(cost="0.1") for _ in range(3)))

    assert report.books.total.cost == Decimal("0.3")


def test_estimated_tokens_are_kept_apart() -> None:
    report = read(request(usage=Usage(100, 0, 0, 10, 0, 110, 1)))

    assert report.books.total.estimated_tokens == 110


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"{not json", "Invalid JSON"),
        (b"[1, 2]", "object"),
        (b'{"time": 1}', "event: Field required"),
        (b'{"event": ""}', "event"),
        (b'{"event": "request.settled", "thread_id": "t", "model": "m"}', "without input_tokens"),
        (
            b'{"event": "request.settled", "thread_id": "t", "model": "m", "input_tokens": -1, "output_tokens": 1}',
            "input_tokens",
        ),
        (
            b'{"event": "request.settled", "thread_id": "t", "model": "m", "input_tokens": 1, "cost": "x"}',
            "cost",
        ),
        (b'{"event": "run.settled", "run_id": "r"}', "without thread_id"),
        (b'{"event": "turn.started", "time": NaN}', "time"),
        (b"\xff\xfe", "Invalid"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_skipped(bad: bytes, says: str) -> None:
    report = read(request(), b"", bad, request())

    assert report.bad.count == 1
    assert str(report.bad.first[0]).startswith("events.jsonl:3: ")
    assert says in report.bad.first[0].reason
    assert report.events == 2


def test_unknown_events_and_fields_are_tolerated() -> None:
    later = {**request().record(), "new_field": {"deep": [1]}}
    report = read(json.dumps(later).encode(), b'{"event": "moon.phase", "phase": 3}')

    assert report.unknown == {"moon.phase": 1}
    assert report.books.total.count == 1
    assert not report.bad.count


def test_memory_does_not_grow_with_bad_lines_or_unknown_names() -> None:
    report = read(*(b"{" for _ in range(500)), *(b'{"event": "x%d"}' % n for n in range(500)))

    assert report.bad.count == 500
    assert len(report.bad.first) == 20
    assert sum(report.unknown.values()) == 500
    assert len(report.unknown) == 51


def test_a_line_longer_than_any_event_is_skipped_and_the_next_one_read() -> None:
    report = read(b'{"event": "' + b"x" * (2 << 20) + b'"}', request())

    assert report.bad.count == 1
    assert "longer than" in report.bad.first[0].reason
    assert report.events == 1


def test_slowest_and_dearest_runs_come_greatest_first_and_few() -> None:
    report = read(run(1, seconds=1, cost="0.3"), run(2, seconds=3, cost="0.1"), run(3, seconds=2, cost="0.2"), top=2)

    assert [line.run_id for line in report.slowest.items()] == ["run_2", "run_3"]
    assert [line.run_id for line in report.dearest.items()] == ["run_1", "run_3"]


def test_runs_without_a_price_are_ranked_by_tokens_after_the_priced_ones() -> None:
    report = read(run(1, cost=None, tokens=500), run(2, cost="0.1"), run(3, cost=None, tokens=900))

    assert [line.run_id for line in report.dearest.items()] == ["run_2", "run_3", "run_1"]


def test_step_counts_give_nearest_rank_percentiles_and_a_ceiling_of_p99_and_two() -> None:
    steps = StepCounts()
    for number in range(100):
        steps.counts[0 if number < 60 else 2 if number < 95 else 8 if number < 99 else 26] += 1

    assert [steps.percentile(percent) for percent in (50, 90, 99, 100)] == [0, 2, 8, 26]
    assert steps.suggested_ceiling == 10


def test_without_runs_there_is_no_ceiling_to_suggest() -> None:
    assert StepCounts().percentile(50) is None
    assert StepCounts().suggested_ceiling is None


def test_a_document_is_json_and_keeps_money_as_text(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(request(), run(steps=3), request(cost=None)))

    document = json.loads(json.dumps(report_document(read_report(file))))

    assert document["runs"] == {"completed": 1}
    assert document["models"]["gpt-6-luna"]["priced_cost"] == "0.01"
    assert document["steps"] == {"runs": 1, "p50": 3, "p90": 3, "p99": 3, "suggested_ceiling": 5}
    assert document["slowest_runs"][0]["cost"] == "0.02"


def test_times_span_all_events() -> None:
    report = read(request(time=50.0), request(time=10.0), request(time=70.0))

    assert (report.first_time, report.last_time) == (10.0, 70.0)
