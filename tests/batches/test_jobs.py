from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from assistantguard import Assistant, AssistantGuard, Budget, ConfigurationError, Job, MalformedJobs
from tests.batches.api import Api

RAW = {"custom_id": "r", "method": "POST", "url": "/v1/responses", "body": {"model": "gpt-4.1", "input": "Hi"}}


def guard(api: Api, assistant: Assistant | None = None, **options: Any) -> AssistantGuard:
    return AssistantGuard(api.client(), assistant or Assistant("gpt-4.1-mini", "Be brief."), sinks=[], **options)


def write(path: Path, *lines: Any) -> Path:
    file = path / "jobs.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return file


BAD: list[tuple[Any, str]] = [
    ("{not json", "is no JSON"),
    ("[1]", r"it is \[1\], no object"),
    ({"id": "x", "input": "Hi", "temprature": 1}, "'temprature' is not known: the fields are"),
    ({"id": "x"}, "input is empty"),
    ({"id": "x", "input": "  "}, "input is empty"),
    ({"id": "x", "input": [1]}, r"input is \[1\]: give text, or a list of input items"),
    ({"id": 7, "input": "Hi"}, "id is 7: give a text"),
    ({"id": "x", "input": "Hi", "max_output_tokens": 3}, "max_output_tokens is 3, the API's minimum is 16"),
    ({"id": "x", "input": "Hi", "max_output_tokens": True}, "max_output_tokens is True"),
    ({"id": "x", "input": "Hi", "model": ""}, "model is ''"),
    ({"id": "x", "input": "Hi", "user": "a\nb"}, "control character"),
    ({"id": "x", "input": "Hi", "metadata": {"a": 1}}, "metadata is"),
    ({**RAW, "url": "/v1/chat/completions"}, "the one thing that goes is POST /v1/responses"),
    ({**RAW, "extra": 1}, "'extra' is not known"),
    ({"custom_id": "r", "body": {}}, "'method' is missing"),
    ({**RAW, "body": {"input": 7}}, "the body's input is 7: give text, or a list of input items"),
    ({**RAW, "body": {"input": "Hi", "stream": []}}, "the body has stream"),
    ({**RAW, "body": {"input": "Hi", "service_tier": []}}, r"service_tier \[\], and a batch has rates of its own"),
    ({**RAW, "body": {"input": "Hi", "tools": "all"}}, "tools are 'all': give a list of tools"),
    ({**RAW, "body": {"input": "Hi", "tools": [{"type": "function", "name": "f"}]}}, "'f', which runs in your program"),
    ('{"custom_id": "r", "method": "POST", "url": "/v1/responses", "body": {"input": "", "top_p": NaN}}', "no input"),
    (
        '{"custom_id": "r", "method": "POST", "url": "/v1/responses", "body": {"input": "Hi", "top_p": NaN}}',
        "cannot be sent as JSON .Out of range float",
    ),
    ({"id": "x", "input": "a\ud800b"}, r"half of a character \(U\+D800, a lone surrogate\): take it out"),
    ({"id": "x\udfff", "input": "Hi"}, "half of a character"),
    ("[" * 100_000, "is no JSON"),
    ({**RAW, "body": {"model": "gpt-4.1"}}, "the body has no input"),
    ({**RAW, "body": {**RAW["body"], "stream": True}}, "the body has stream"),  # type: ignore[dict-item]
    ({**RAW, "body": {**RAW["body"], "conversation": "conv_1"}}, "a job stands alone"),  # type: ignore[dict-item]
    ({**RAW, "body": {**RAW["body"], "service_tier": "flex"}}, "service_tier 'flex'"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("line", "told"), BAD)
def test_a_line_that_is_no_job_is_named_with_its_mend(tmp_path: Path, line: Any, told: str) -> None:
    api = Api()
    with pytest.raises(MalformedJobs, match=told) as caught:
        guard(api).batch(write(tmp_path, {"id": "good", "input": "Hi"}, "", line))
    assert [problem.line for problem in caught.value.problems] == [3]
    assert not api.requests


def test_all_bad_lines_are_named_together_and_nothing_is_sent(tmp_path: Path) -> None:
    api = Api()
    file = write(tmp_path, *(line for line, _told in BAD), {"id": "twin", "input": "a"}, {"id": "twin", "input": "b"})
    with pytest.raises(MalformedJobs) as caught:
        guard(api).batch(file)
    assert [problem.line for problem in caught.value.problems] == [*range(1, len(BAD) + 1), len(BAD) + 2]
    assert f"the id 'twin' is that of line {len(BAD) + 1} already" in caught.value.problems[-1].text
    assert not api.requests


@pytest.mark.parametrize(
    ("jobs", "told"),
    [([], "there are no jobs"), ("Hi", "jobs is 'Hi'"), (Job("Hi"), "jobs is Job"), ([7], "it is 7: give a Job")],
)
def test_what_is_no_list_of_jobs_is_refused(jobs: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        guard(Api()).batch(jobs)


def test_functions_cannot_run_in_a_batch_and_built_in_tools_can() -> None:
    def lookup(order: str) -> str:
        """Look an order up."""
        return order

    api = Api()
    with pytest.raises(ConfigurationError, match="the tool 'lookup', which runs in your program"):
        guard(api, Assistant("gpt-4.1-mini", tools=[lookup])).batch(["Hi"])
    guard(api, Assistant("gpt-4.1-mini", tools=[{"type": "web_search"}])).batch(["Hi"], poll=0.001)
    assert api.bodies[0]["tools"] == [{"type": "web_search"}]


def test_a_budget_must_know_whom_each_job_is_charged_to() -> None:
    bot = guard(Api(), policies=[Budget("tenant", tokens=1_000)])
    with pytest.raises(MalformedJobs, match="line 2: Budget tenant/day charges each tenant, and the job names none"):
        bot.batch([Job("Hi", tenant="acme"), Job("Ho", user="anna")])


def test_a_job_has_the_assistants_settings_where_it_says_nothing_else() -> None:
    api = Api()
    assistant = Assistant("gpt-4.1-mini", "Be brief.", temperature=0.5, max_output_tokens=100, metadata={"a": "1"})
    bot = guard(api, assistant)
    own = Job("Ho", model="gpt-4.1-mini-2025-04-14", instructions="Be long.", max_output_tokens=50, metadata={"b": "2"})
    bot.batch(["Hi", own, Job(body={"input": "raw"})], poll=0.001)
    plain, other, raw = sorted(api.bodies, key=lambda body: str(body["input"][-1]), reverse=True)[::-1][:3]
    by_text = {str(body["input"]): body for body in (plain, other, raw)}
    (first,) = (body for text, body in by_text.items() if "Hi" in text)
    (second,) = (body for text, body in by_text.items() if "Ho" in text)
    kept = ("model", "instructions", "temperature", "max_output_tokens", "metadata")
    assert [first[name] for name in kept] == ["gpt-4.1-mini", "Be brief.", 0.5, 100, {"a": "1"}]
    assert [second[name] for name in kept] == [own.model, "Be long.", 0.5, 50, {"a": "1", "b": "2"}]
    assert by_text["raw"] == {"input": "raw", "model": "gpt-4.1-mini"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"through": "4h"}, "through is '4h'"),
        ({"poll": 0}, "poll is 0"),
        ({"timeout": -1}, "timeout is -1"),
        ({"retry": True, "cancel": True}, "both retry and cancel"),
        ({"on_progress": 3}, "on_progress is 3"),
    ],
)
def test_options_that_cannot_work_are_refused(options: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        guard(Api()).batch(["Hi"], **options)


def test_a_state_file_beside_a_database_is_refused(tmp_path: Path) -> None:
    told = pytest.raises(ConfigurationError, match="the guard has a database, where batches are kept")
    with guard(Api(), ledger=f"sqlite:///{tmp_path}/guard.db") as bot, told:
        bot.batch(["Hi"], state=tmp_path / "state")


GOOD = b'{"id": "a", "input": "J\xc3\xb6rg?"}'


@pytest.mark.parametrize(
    "content",
    [GOOD, codecs.BOM_UTF8 + GOOD, b"\r\n" + GOOD + b"\r\n\r\n", b"\n \n" + GOOD],
    ids=["plain", "byte order mark", "Windows line ends", "empty lines"],
)
def test_a_file_may_be_of_any_system(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(content)
    (result,) = guard(Api()).batch(file, poll=0.001).results
    assert (result.id, result.text) == ("a", "re: Jörg?")


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n", codecs.BOM_UTF8], ids=["nothing", "blanks", "a mark"])
def test_a_file_without_jobs_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"there are no jobs in .*jobs.jsonl: give at least one, a line "):
        guard(Api()).batch(file)


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("latin-1", r"line 1: its byte 24 \(0xf6\) is not UTF-8: save the file as UTF-8"),
        ("utf-16", r"line 1: its byte 1 \(0xff\) is not UTF-8: save the file as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_the_place(tmp_path: Path, encoding: str, told: str) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_bytes(GOOD.decode().encode(encoding))
    with pytest.raises(MalformedJobs, match=told):
        guard(Api()).batch(file)
