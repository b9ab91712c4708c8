from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import TypeAdapter

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import Answer, BatchProcessing, Conduct, RateLimits, Sandbox, batch_lines, files

MODEL = "gpt-6-luna"
DAY = 86_400


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock stands still: only `Sandbox.advance` moves the sandbox's."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)


def _line(custom_id: Any, **body: Any) -> dict[str, Any]:
    asked = {"model": MODEL, "input": f"Say {custom_id}.", **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/responses", "body": asked}


def _uploaded(call: Any, sandbox: Sandbox, content: bytes) -> str:
    uploaded = call(sandbox, "files.create", file=("jobs.jsonl", content), purpose="batch")
    return str(uploaded.id)


def _batch(call: Any, sandbox: Sandbox, lines: list[Any] | bytes, **asked: Any) -> Any:
    content = lines if isinstance(lines, bytes) else "\n".join(map(json.dumps, lines)).encode()
    params = {"endpoint": "/v1/responses", "completion_window": "24h", **asked}
    return call(sandbox, "batches.create", input_file_id=_uploaded(call, sandbox, content), **params)


def _read(call: Any, sandbox: Sandbox, batch: Any) -> Any:
    return call(sandbox, "batches.retrieve", batch.id)


def _rows(call: Any, sandbox: Sandbox, file_id: str | None) -> dict[str, Any]:
    """The lines of a file, by custom id, in order."""
    assert file_id is not None
    text = call(sandbox, "files.content", file_id).content.decode()
    rows = [json.loads(row) for row in text.splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == len({row["custom_id"] for row in rows})
    return {row["custom_id"]: row for row in rows}


def test_a_batch_goes_through_its_statuses_by_the_sandboxs_clock(call: Any) -> None:
    processing = BatchProcessing(seconds=100, validating_seconds=5, finalizing_seconds=20)
    with Sandbox(batches=processing) as sandbox:
        batch = _batch(call, sandbox, [_line(f"r{number}") for number in range(4)], metadata={"job": "7"})
        seen = [(batch.status, batch.request_counts.total, batch.request_counts.completed)]
        for seconds in (5, 25, 50, 25, 20):
            sandbox.advance(seconds)
            batch = _read(call, sandbox, batch)
            seen.append((batch.status, batch.request_counts.total, batch.request_counts.completed))

        assert seen == [
            ("validating", 0, 0),
            ("in_progress", 4, 0),
            ("in_progress", 4, 1),
            ("in_progress", 4, 3),
            ("finalizing", 4, 4),
            ("completed", 4, 4),
        ]
        moments = (batch.in_progress_at, batch.finalizing_at, batch.completed_at, batch.expires_at)
        assert [moment - batch.created_at for moment in moments] == [5, 105, 125, DAY]
        assert (batch.metadata, batch.error_file_id, batch.errors) == ({"job": "7"}, None, None)


def test_the_output_holds_each_answer_under_its_custom_id_in_another_order(call: Any) -> None:
    names = [f"job-{number}" for number in range(30)]
    with Sandbox([f"answer to {name}" for name in names]) as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, [_line(name) for name in names]))
        rows = _rows(call, sandbox, batch.output_file_id)

        assert sorted(rows) == sorted(names)
        assert list(rows) != names
        for name, row in rows.items():
            assert row["error"] is None
            assert row["id"].startswith("batch_req_")
            assert (row["response"]["status_code"], row["response"]["request_id"][:4]) == (200, "req_")
            response = TypeAdapter(Response).validate_json(json.dumps(row["response"]["body"]), strict=True)
            assert response.output_text == f"answer to {name}"


def test_a_batch_costs_half_and_reports_what_it_used(call: Any) -> None:
    with Sandbox() as sandbox:
        standard = call(sandbox, "responses.create", model=MODEL, input="Say a.")
        batch = _read(call, sandbox, _batch(call, sandbox, [_line("a"), _line("b")]))

        alone, *rows = sandbox.billing.calls
        assert alone.cost == Decimal(standard.usage.input_tokens * 1 + standard.usage.output_tokens * 5) / 10**7
        assert alone.cost
        assert [(row.service_tier, row.batch_id, row.cost) for row in rows] == [("batch", batch.id, alone.cost / 2)] * 2
        told = batch.to_dict()  # openai 1.101 has no name for either
        assert (told["model"], told["usage"]["total_tokens"]) == (MODEL, 2 * standard.usage.total_tokens)


def test_requests_that_fail_cost_nothing_and_stand_in_the_error_file(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(failing=["broken"])) as sandbox:
        lines = [
            _line("fine"),
            _line("broken"),
            _line("wrong", temperature=9),
            _line("streamed", stream=True),
            _line("later", background=True),
        ]
        batch = _read(call, sandbox, _batch(call, sandbox, lines))
        rows = _rows(call, sandbox, batch.error_file_id)

        assert batch.status == "completed"
        assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 4)
        assert list(_rows(call, sandbox, batch.output_file_id)) == ["fine"]
        answers = {
            name: (row["response"]["status_code"], row["response"]["body"]["error"]) for name, row in rows.items()
        }
        assert {name: status for name, (status, _) in answers.items()} == {
            "broken": 500,
            "wrong": 400,
            "streamed": 400,
            "later": 400,
        }
        assert (answers["wrong"][1]["param"], answers["streamed"][1]["param"]) == ("temperature", "stream")
        assert sandbox.billing.requests == 1


def test_a_batch_whose_requests_all_fail_has_no_output_file(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(failing=["a"])) as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, [_line("a")]))

        assert (batch.status, batch.output_file_id) == ("completed", None)
        assert list(_rows(call, sandbox, batch.error_file_id)) == ["a"]


def test_a_batch_that_expires_is_charged_for_what_was_done(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(seconds=2 * DAY)) as sandbox:
        batch = _batch(call, sandbox, [_line(f"r{number}") for number in range(10)])
        sandbox.advance(DAY - 1)
        assert _read(call, sandbox, batch).status == "in_progress"
        sandbox.advance(1)
        batch = _read(call, sandbox, batch)

        assert (batch.status, batch.expired_at) == ("expired", batch.expires_at)
        assert (batch.request_counts.completed, batch.request_counts.failed) == (5, 5)
        assert sorted(_rows(call, sandbox, batch.output_file_id)) == [f"r{number}" for number in range(5)]
        rows = _rows(call, sandbox, batch.error_file_id)
        assert sorted(rows) == [f"r{number}" for number in range(5, 10)]
        assert {(row["response"], row["error"]["code"]) for row in rows.values()} == {(None, "batch_expired")}
        assert sandbox.billing.requests == 5


def test_a_batch_can_be_made_to_expire_now(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(seconds=100)) as sandbox:
        batch = _batch(call, sandbox, [_line("a"), _line("b")])
        sandbox.advance(50)
        sandbox.expire_batch(batch.id)
        sandbox.advance(500)

        assert _read(call, sandbox, batch).status == "expired"
        assert sandbox.billing.requests == 1
        with pytest.raises(KeyError):
            sandbox.expire_batch("batch_none")


def test_a_cancelled_batch_keeps_what_was_done(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(seconds=100, cancelling_seconds=30)) as sandbox:
        batch = _batch(call, sandbox, [_line("a"), _line("b")])
        sandbox.advance(50)
        assert call(sandbox, "batches.cancel", batch.id).status == "cancelling"
        sandbox.advance(29)
        assert call(sandbox, "batches.cancel", batch.id).status == "cancelling"
        sandbox.advance(1)
        batch = _read(call, sandbox, batch)

        assert (batch.status, batch.cancelled_at - batch.cancelling_at) == ("cancelled", 30)
        assert list(_rows(call, sandbox, batch.output_file_id)) == ["a"]
        (missed,) = _rows(call, sandbox, batch.error_file_id).values()
        assert (missed["custom_id"], missed["error"]["code"]) == ("b", "batch_cancelled")
        assert sandbox.billing.requests == 1


def test_a_batch_that_has_ended_cannot_be_cancelled(call: Any) -> None:
    with Sandbox() as sandbox:
        batch = _batch(call, sandbox, [_line("a")])
        assert _read(call, sandbox, batch).status == "completed"
        with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
            call(sandbox, "batches.cancel", batch.id)


def _wrong(**changes: Any) -> bytes:
    line = {name: value for name, value in {**_line("a"), **changes}.items() if value is not None}
    return json.dumps(line).encode()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"{nothing"], ("invalid_json_line", 1, None)),
        ([b"[1]"], ("invalid_json_line", 1, None)),
        ([b'{"custom_id": "\xff"}'], ("invalid_json_line", 1, None)),
        ([_wrong(custom_id=None)], ("missing_required_parameter", 1, "custom_id")),
        ([_wrong(), _wrong(custom_id="b", body=None)], ("missing_required_parameter", 2, "body")),
        ([_wrong(body={"input": "Hi"})], ("missing_required_parameter", 1, "body.model")),
        ([_wrong(custom_id=7)], ("invalid_type", 1, "custom_id")),
        ([_wrong(priority=7)], ("unknown_parameter", 1, "priority")),
        ([_wrong(method="GET")], ("invalid_method", 1, "method")),
        ([_wrong(), _wrong(custom_id="b", url="/v1/embeddings")], ("invalid_url", 2, "url")),
        ([_wrong(), b"", _wrong()], ("duplicate_custom_id", 3, "custom_id")),
        ([_wrong(), _wrong(custom_id="b", body={"model": "gpt-4o"})], ("mismatched_model", 2, "body.model")),
        ([b"", b"  "], ("empty_file", None, None)),
    ],
)
def test_a_file_that_is_wrong_fails_its_batch_with_the_line(
    call: Any, lines: list[bytes], expected: tuple[str, int | None, str | None]
) -> None:
    with Sandbox() as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, b"\n".join(lines)))

        assert batch.status == "failed"
        assert batch.failed_at == batch.created_at
        (error,) = batch.errors.data
        assert (error.code, error.line, error.param) == expected
        assert error.message
        assert sandbox.billing.requests == 0


def test_every_wrong_line_is_listed(call: Any) -> None:
    with Sandbox() as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, b"{\n" + _wrong() + b"\n{\n" + _wrong()))

        assert [(error.line, error.code) for error in batch.errors.data] == [
            (1, "invalid_json_line"),
            (3, "invalid_json_line"),
            (4, "duplicate_custom_id"),
        ]


def test_a_batch_has_at_most_so_many_requests(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lines, "MOST_LINES", 3)
    with Sandbox() as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, [_line(str(number)) for number in range(4)]))
        assert [error.code for error in batch.errors.data] == ["too_many_tasks"]


def test_a_batch_has_at_most_so_many_bytes(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_BATCH", 100)
    with Sandbox() as sandbox:
        with pytest.raises(openai.APIStatusError) as caught:
            _uploaded(call, sandbox, b"x" * 101)
        assert caught.value.status_code == 413


def test_input_must_be_lines_of_json_uploaded_for_a_batch(call: Any) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
            call(sandbox, "files.create", file=("jobs.json", b"{}"), purpose="batch")
        other = call(sandbox, "files.create", file=("jobs.jsonl", b"{}"), purpose="user_data")
        common = {"endpoint": "/v1/responses", "completion_window": "24h"}
        with pytest.raises(openai.BadRequestError, match="'batch' is needed"):
            call(sandbox, "batches.create", input_file_id=other.id, **common)
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            call(sandbox, "batches.create", input_file_id="file-none", **common)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"completion_window": "48h"}, "completion_window"),
        ({"endpoint": "/v1/threads"}, "endpoint"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after.seconds"),
        ({"extra_body": {"priority": 1}}, "priority"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(call: Any, asked: dict[str, Any], param: str) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(openai.BadRequestError) as caught:
            _batch(call, sandbox, [_line("a")], **asked)
        assert caught.value.param == param


def test_batches_are_listed_newest_first_page_by_page(call: Any) -> None:
    with Sandbox() as sandbox:
        made = [_batch(call, sandbox, [_line("a")]).id for _ in range(3)]

        first = call(sandbox, "batches.list", limit=2)
        rest = call(sandbox, "batches.list", after=first.data[-1].id)
        assert [batch.id for batch in (*first.data, *rest.data)] == made[::-1]
        assert (first.has_more, rest.has_more) == (True, False)
        assert {batch.status for batch in rest.data} == {"completed"}
        with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
            call(sandbox, "batches.retrieve", "batch_none")


def test_a_batch_takes_nothing_from_the_rate_limits(call: Any) -> None:
    with Sandbox(limits=RateLimits(requests_per_minute=1, tokens_per_minute=20)) as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, [_line(str(number)) for number in range(9)]))

        assert batch.request_counts.completed == 9
        assert sandbox.rate_limits.admitted == []


def test_a_batch_beyond_the_tokens_that_may_be_queued_fails(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(seconds=60, enqueued_tokens=30)) as sandbox:
        first = _batch(call, sandbox, [_line("a"), _line("b")])
        assert _read(call, sandbox, first).status == "in_progress"
        second = _read(call, sandbox, _batch(call, sandbox, [_line("a"), _line("b")]))
        (error,) = second.errors.data
        assert (second.status, error.code, error.line) == ("failed", "token_limit_exceeded", None)
        assert f"Enqueued token limit reached for {MODEL}" in error.message
        sandbox.advance(60)
        assert _read(call, sandbox, first).status == "completed"
        assert _read(call, sandbox, _batch(call, sandbox, [_line("a"), _line("b")])).status == "in_progress"


def test_files_of_a_batch_expire_as_asked(call: Any) -> None:
    with Sandbox() as sandbox:
        expiry = {"anchor": "created_at", "seconds": 3600}
        short = _read(call, sandbox, _batch(call, sandbox, [_line("a")], output_expires_after=expiry))
        usual = _read(call, sandbox, _batch(call, sandbox, [_line("a")]))
        sandbox.advance(3600)
        with pytest.raises(openai.NotFoundError):
            call(sandbox, "files.content", short.output_file_id)
        file = call(sandbox, "files.retrieve", usual.output_file_id)
        assert (file.purpose, file.expires_at - file.created_at) == ("batch_output", 30 * DAY)
        assert call(sandbox, "files.retrieve", usual.input_file_id).expires_at == usual.created_at + 30 * DAY


def test_an_answer_in_a_batch_takes_no_time_of_its_own(call: Any) -> None:
    slow = Answer("done", delay=3600, pace=60, conduct=Conduct(stuck="in_progress"))
    with Sandbox([slow]) as sandbox:
        batch = _read(call, sandbox, _batch(call, sandbox, [_line("a")]))
        assert batch.status == "completed"


def test_how_batches_are_processed_can_be_changed_while_the_sandbox_runs(call: Any) -> None:
    with Sandbox(batches=BatchProcessing(failing=["a"])) as sandbox:
        first = _batch(call, sandbox, [_line("a")])
        sandbox.batches = BatchProcessing()
        second = _batch(call, sandbox, [_line("a")])

        assert _read(call, sandbox, first).request_counts.failed == 1
        assert _read(call, sandbox, second).request_counts.completed == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seconds": -1}, "seconds=-1 "),
        ({"cancelling_seconds": -0.5}, "cancelling_seconds=-0.5"),
        ({"enqueued_tokens": 0}, "enqueued_tokens=0"),
        ({"failing": "a"}, "failing='a' is a text"),
    ],
)
def test_processing_that_cannot_work_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BatchProcessing(**given)
