"""Jobs: how they are given, what is checked before any is sent, and the request that each becomes."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistantguard.backends.responses import create_params
from assistantguard.batches.problems import JobProblem, MalformedJobs
from assistantguard.dropin.bodies import user_of
from assistantguard.engine.ports import ModelRequest
from assistantguard.errors import ConfigurationError
from assistantguard.model_limits import takes_effort
from assistantguard.models.assistant import MIN_OUTPUT_TOKENS, Assistant
from assistantguard.models.names import check_name
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from assistantguard.policies import PolicySet

__all__ = ["ENDPOINT", "LONGEST_LINE", "Job", "Planned", "digest_of", "planned", "request_body", "request_line"]

ENDPOINT = "/v1/responses"
LONGEST_LINE = 200_000_000 - 1_000
"""Bytes: the most that the API takes of a file, less what the bounds may add."""
_LONGEST_ID = 512
_MOST_METADATA = 16
_OPENAI_KEYS = {"custom_id", "method", "url", "body"}
_STANDARD = (None, "auto", "default")
_NOT_SINGLE = ("conversation", "previous_response_id")
_NOT_BATCHED = ("stream", "background")
_LOCAL_TOOLS = ("function", "custom")
_SHOWN = 40


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Job(Value):
    """One message, answered once.

    Args:
        input: What is asked: text, or input items as the Responses API takes them.
        id: What its result is called; the place in the list where it is None. No two jobs may share one.
        user: Whose budgets it counts on.
        tenant: The tenant that the user belongs to.
        model: None takes the assistant's.
        instructions: None takes the assistant's.
        max_output_tokens: None takes the assistant's.
        metadata: Sent with the request, at most 16 pairs.
        body: A whole request of the Responses API, in place of `input` and the assistant's settings; its model is the
            assistant's where it names none.
    """

    input: str | Sequence[Mapping[str, Any]] = field(default="", hash=False)
    id: str | None = None
    user: str | None = None
    tenant: str | None = None
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: Mapping[str, Any] | None = field(default=None, hash=False)


_FIELDS = {each.name for each in fields(Job)} - {"body"}


@dataclass(slots=True, eq=False, repr=False)
class Planned:
    """A job that was checked."""

    position: int
    id: str
    job: Job
    model: str
    user: str | None
    tenant: str | None
    body: dict[str, Any]
    """The request, not bounded yet."""

    @property
    def is_own(self) -> bool:
        """Whether the application says itself which model answers, or gives a whole request."""
        return self.job.model is not None or self.job.body is not None


def _read(path: Path, problems: list[JobProblem]) -> list[tuple[int, Job]]:
    """The jobs of a file, one JSON object a line, with their lines; empty lines are passed over."""
    jobs: list[tuple[int, Job]] = []
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 - the same line
            if not raw.strip():
                continue
            try:
                jobs.append((number, _job_of(json.loads(raw.decode()))))
            except ConfigurationError as error:
                problems.append(JobProblem(number, str(error)))
            except UnicodeDecodeError as error:
                what = f"its byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8: save the file as UTF-8"
                problems.append(JobProblem(number, what))
            except (ValueError, RecursionError) as error:
                shown = raw[:_SHOWN].decode("utf-8", "replace").rstrip()
                problems.append(JobProblem(number, f"{shown!r} is no JSON ({error}): write one JSON object a line"))
    return jobs


def _job_of(line: Any) -> Job:
    if not isinstance(line, dict):
        raise ConfigurationError(f'it is {_shown(line)}, no object: write {{"id": …, "input": "…"}}')
    if "custom_id" in line or "body" in line:
        return _job_of_openai(line)
    unknown = sorted(set(line) - _FIELDS)
    if unknown:
        raise ConfigurationError(
            f"the field {_shown(unknown[0])} is not known: the fields are {', '.join(sorted(_FIELDS))}, or those of"
            f" OpenAI's batch lines, {', '.join(sorted(_OPENAI_KEYS))}"
        )
    return Job(**{name: value for name, value in line.items() if value is not None})


def _job_of_openai(line: Mapping[str, Any]) -> Job:
    unknown, missing = sorted(set(line) - _OPENAI_KEYS), sorted(_OPENAI_KEYS - set(line))
    if unknown or missing:
        what = f"the field {_shown(unknown[0])} is not known" if unknown else f"the field {missing[0]!r} is missing"
        raise ConfigurationError(f"{what}: a batch line of OpenAI's has {', '.join(sorted(_OPENAI_KEYS))}")
    if line["method"] != "POST" or line["url"] != ENDPOINT:
        raise ConfigurationError(
            f"it asks for {_shown(line['method'])} {_shown(line['url'])}, the one thing that goes is POST {ENDPOINT}:"
            " write the request for the Responses API"
        )
    if not isinstance(line["body"], dict):
        raise ConfigurationError(f"body is {_shown(line['body'])}: give the request, an object")
    return Job(id=line["custom_id"], body=line["body"])


def planned(
    jobs: Iterable[Job | str] | os.PathLike[str],
    assistant: Assistant,
    tools: Sequence[Mapping[str, Any]],
    policies: PolicySet,
) -> list[Planned]:
    """Check all jobs, and make their requests.

    Args:
        jobs: What is to be done, or a file of it: one JSON object a line.
        assistant: Whose model, instructions and settings they have where they say nothing else.
        tools: The schemas of its tools.
        policies: The guard's, whose budgets may need to know whom a job is charged to.

    Raises:
        MalformedJobs: Some cannot be done as they are; all of them are named.
        ConfigurationError: There are none, or the assistant has tools that only run here.
        OSError: The file cannot be read.
    """
    _check_tools(tools)
    problems: list[JobProblem] = []
    given = _read(Path(jobs), problems) if isinstance(jobs, os.PathLike) else _listed(jobs)
    if not given and not problems:
        where, how = "", "batch([Job('…'), …])"
        if isinstance(jobs, os.PathLike):
            where, how = f" in {os.fspath(jobs)}", 'a line {"id": "…", "input": "…"}'
        raise ConfigurationError(f"there are no jobs{where}: give at least one, {how}")
    checked: list[Planned] = []
    seen: dict[str, int] = {}
    for line, job in given:
        try:
            one = _planned(len(checked), line, job, assistant, tools, policies)
            _check_new(one.id, line, seen.setdefault(one.id, line))
        except ConfigurationError as error:
            problems.append(JobProblem(line, str(error)))
        else:
            checked.append(one)
    if problems:
        raise MalformedJobs(sorted(problems, key=lambda problem: problem.line))
    return checked


def _check_new(job_id: str, line: int, first: int) -> None:
    if first != line:
        raise ConfigurationError(
            f"the id {_shown(job_id)} is that of line {first} already: give each job an id of its own"
        )


def digest_of(jobs: Sequence[Planned], through: str) -> str:
    """The same for the same jobs, done in the same way."""
    digest = hashlib.sha256(through.encode())
    for job in jobs:
        whole = [job.id, job.user, job.tenant, job.body]
        digest.update(json.dumps(whole, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def request_line(custom_id: str, body: Mapping[str, Any]) -> bytes:
    """A line of a batch's file."""
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _listed(jobs: Any) -> list[tuple[int, Any]]:
    if isinstance(jobs, (str, bytes, Mapping, Job)) or not isinstance(jobs, Iterable):
        raise ConfigurationError(f"jobs is {_shown(jobs)}: give a list, batch([Job('…'), …]), or the Path of a file")
    return list(enumerate(jobs, start=1))


def _check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    local = [str(tool.get("name")) for tool in tools if tool.get("type") == "function"]
    if local:
        raise ConfigurationError(
            f"the assistant has the tool {local[0]!r}, which runs in your program, and a batch is answered in a single"
            " turn at the server: leave such tools out; built-in ones such as web_search go"
        )


def _planned(
    position: int, line: int, job: Any, assistant: Assistant, tools: Sequence[Mapping[str, Any]], policies: PolicySet
) -> Planned:
    if isinstance(job, str):
        job = Job(job)
    if not isinstance(job, Job):
        raise ConfigurationError(f"it is {_shown(job)}: give a Job(…), or text")
    if job.id is not None and (not isinstance(job.id, str) or not job.id.strip() or len(job.id) > _LONGEST_ID):
        raise ConfigurationError(f"id is {_shown(job.id)}: give a text of 1 to {_LONGEST_ID} characters, or none")
    body = _own_body(job, assistant) if job.body is not None else request_body(job, assistant, tools)
    user = user_of(body, lambda _metadata: None) if job.body is not None and job.user is None else job.user
    for kind, name in (("user", user), ("tenant", job.tenant)):
        if name is not None:
            check_name(kind, name)
    _check_payers(policies, user, job.tenant)
    try:
        size = len(request_line(job.id or "", body))
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise ConfigurationError(f"it has half of a character ({half}, a lone surrogate): take it out") from error
    if size > LONGEST_LINE:
        raise ConfigurationError(f"it has more than {LONGEST_LINE:,} bytes, the most that a file may have: shorten it")
    return Planned(position, job.id or f"job-{line}", job, body["model"], user, job.tenant, body)


def request_body(
    job: Job,
    assistant: Assistant,
    tools: Sequence[Mapping[str, Any]],
    model: str | None = None,
    effort: str | None = None,
) -> dict[str, Any]:
    """The request that a job becomes.

    Args:
        job: Without a body of its own.
        assistant: As for `planned`.
        tools: As for `planned`.
        model: In place of the job's and the assistant's.
        effort: The reasoning effort in place of the assistant's.

    Raises:
        ConfigurationError: It cannot be sent as it is.
    """
    items = job.input
    if isinstance(items, str):
        if not items.strip():
            raise ConfigurationError("input is empty: say what is asked")
        given: Any = [{"type": "message", "role": "user", "content": items}]
    else:
        given = items
        if not isinstance(items, (list, tuple)) or not items or not all(isinstance(item, Mapping) for item in items):
            raise ConfigurationError(f"input is {_shown(items)}: give text, or a list of input items")
    for name, value in (("model", job.model), ("instructions", job.instructions)):
        if value is not None and (not isinstance(value, str) or (name == "model" and not value.strip())):
            raise ConfigurationError(f"{name} is {_shown(value)}: give a text, or leave it out")
    most = job.max_output_tokens if job.max_output_tokens is not None else assistant.max_output_tokens
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < MIN_OUTPUT_TOKENS):
        raise ConfigurationError(
            f"max_output_tokens is {_shown(most)}, the API's minimum is {MIN_OUTPUT_TOKENS}: raise it, or leave it out"
        )
    _check_metadata(job.metadata)
    model = model or job.model or assistant.model
    if effort is None and (model == assistant.model or takes_effort(model)):
        effort = assistant.reasoning_effort
    request = ModelRequest(
        model,
        assistant,
        assistant.instructions if job.instructions is None else job.instructions,
        list(given),
        tools=tools,
        tool_choice=assistant.tool_choice,
        max_output_tokens=most,
        metadata={**assistant.metadata, **job.metadata},
        reasoning_effort=effort,
    )
    body = create_params(request)
    body.update(body.pop("extra_body", {}))
    body.pop("service_tier", None)
    return _json(body)


def _own_body(job: Job, assistant: Assistant) -> dict[str, Any]:
    body = dict(job.body or {})
    for name in ("input", "model", "instructions", "max_output_tokens"):
        if getattr(job, name) not in (None, ""):
            raise ConfigurationError(f"both body and {name} are given: say it in the body")
    if not body.get("input") and not body.get("prompt"):
        raise ConfigurationError("the body has no input: say what is asked")
    if body.get("input") is not None and not isinstance(body["input"], (str, list, tuple)):
        raise ConfigurationError(f"the body's input is {_shown(body['input'])}: give text, or a list of input items")
    _check_own_tools(body.get("tools"))
    body.setdefault("model", assistant.model)
    if not isinstance(body["model"], str) or not body["model"].strip():
        raise ConfigurationError(f"the body's model is {_shown(body['model'])}: name a model")
    for name in _NOT_SINGLE:
        if body.get(name) is not None:
            raise ConfigurationError(f"the body has {name}, and a job stands alone: give all of it as input")
    for name in _NOT_BATCHED:
        if body.get(name) not in (None, False):
            raise ConfigurationError(f"the body has {name}, which a batch decides itself: leave it out")
    if body.get("service_tier") not in _STANDARD:
        raise ConfigurationError(
            f"the body has service_tier {_shown(body['service_tier'])}, and a batch has rates of its own: leave it out"
        )
    most = body.get("max_output_tokens")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < MIN_OUTPUT_TOKENS):
        raise ConfigurationError(
            f"the body's max_output_tokens is {_shown(most)}, the API's minimum is {MIN_OUTPUT_TOKENS}: raise it"
        )
    return _json(body)


def _check_own_tools(tools: Any) -> None:
    if tools is not None and not (
        isinstance(tools, (list, tuple)) and all(isinstance(tool, Mapping) for tool in tools)
    ):
        raise ConfigurationError(f"the body's tools are {_shown(tools)}: give a list of tools, or none")
    for tool in tools or ():
        if tool.get("type") in _LOCAL_TOOLS:
            raise ConfigurationError(
                f"the body has the tool {_shown(tool.get('name'))}, which runs in your program, and a batch is answered"
                " in a single turn at the server: leave such tools out, and ask for JSON with text.format"
            )


def _json(body: dict[str, Any]) -> dict[str, Any]:
    try:
        copied: dict[str, Any] = json.loads(json.dumps(body, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"it cannot be sent as JSON ({error}): give plain values") from error
    return copied


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in metadata.items()
    ):
        raise ConfigurationError(f"metadata is {_shown(metadata)}: give texts by name")
    Assistant("checked", metadata=metadata)


def _check_payers(policies: PolicySet, user: str | None, tenant: str | None) -> None:
    for budget, _is_observed in policies.budgets:
        if (budget.kind == "user" and user is None) or (budget.kind == "tenant" and tenant is None):
            raise ConfigurationError(
                f"Budget {budget.name} charges each {budget.kind}, and the job names none: give it {budget.kind}=…"
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
