"""The old API's whole surface, and what the drop-in makes of it.

The page ``docs/assistants.md`` and the ``scan`` command go by these tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from assistantguard.models.values import Value

__all__ = [
    "ADDRESSES",
    "DIFFERENT",
    "FIELDS",
    "METHODS",
    "NAMESPACES",
    "NOT_SERVED",
    "OTHER_NAMESPACES",
    "PARAMETERS",
    "SERVED",
    "UNKNOWN",
    "FieldRow",
    "MethodRow",
    "ParameterRow",
    "Verdict",
    "worst",
]

Verdict = Literal["served", "served with a difference", "not served"]

SERVED: Verdict = "served"
DIFFERENT: Verdict = "served with a difference"
NOT_SERVED: Verdict = "not served"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MethodRow(Value):
    """A method below ``client.beta``; the asynchronous one has the same name."""

    name: str
    """``threads.runs.create``."""
    verdict: Verdict = SERVED
    note: str = ""
    """What differs, and what to do; empty where the method is served as it was."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ParameterRow(Value):
    """A keyword argument that is not served as it was."""

    name: str
    verdict: Verdict
    note: str
    methods: tuple[str, ...]
    """The methods that take it, as in `MethodRow.name`."""
    value: str = ""
    """The row holds only where this string stands in the argument; empty: for any argument."""
    unless: str = ""
    """The row does not hold where this string stands in the argument."""
    takers: str = ""
    """The methods in words, where they are many."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FieldRow(Value):
    """A field of an answer, or the meaning of one, that differs."""

    name: str
    verdict: Verdict
    note: str
    read_as: str = ""
    """A regular expression for the attributes by which programs read it; empty where no name gives it away."""


def worst(verdicts: Iterable[Verdict | None]) -> Verdict:
    """Return the verdict that serves the least; None says nothing."""
    given = set(verdicts)
    return NOT_SERVED if NOT_SERVED in given else DIFFERENT if DIFFERENT in given else SERVED


_STEPS = (
    "Steps are made from the answers' output items: reasoning has no step, the times are this machine's, and the usage"
    " of an answer stands at its last step. Read `run.usage` for what a run used."
)
_MOVED = "The SDK has had it as `client.vector_stores` since 1.66, which goes to OpenAI as ever: drop `.beta`."
_OF_VERSION_1 = "It was part of Assistants v1 alone: use `attachments` of messages, and `tool_resources`."

METHODS = (
    MethodRow("assistants.create"),
    MethodRow("assistants.retrieve"),
    MethodRow("assistants.update"),
    MethodRow("assistants.list"),
    MethodRow("assistants.delete"),
    MethodRow("threads.create"),
    MethodRow("threads.retrieve"),
    MethodRow("threads.update"),
    MethodRow("threads.delete"),
    MethodRow("threads.create_and_run"),
    MethodRow("threads.create_and_run_poll"),
    MethodRow("threads.create_and_run_stream"),
    MethodRow("threads.messages.create"),
    MethodRow("threads.messages.retrieve"),
    MethodRow("threads.messages.update"),
    MethodRow("threads.messages.list"),
    MethodRow(
        "threads.messages.delete",
        DIFFERENT,
        "A message that a run has read is not deleted (400), because the model keeps what it read: begin a new thread"
        " without it.",
    ),
    MethodRow("threads.runs.create"),
    MethodRow("threads.runs.create_and_poll"),
    MethodRow("threads.runs.create_and_stream"),
    MethodRow("threads.runs.stream"),
    MethodRow("threads.runs.poll"),
    MethodRow("threads.runs.retrieve"),
    MethodRow("threads.runs.update"),
    MethodRow("threads.runs.list"),
    MethodRow("threads.runs.cancel"),
    MethodRow("threads.runs.submit_tool_outputs"),
    MethodRow("threads.runs.submit_tool_outputs_and_poll"),
    MethodRow("threads.runs.submit_tool_outputs_stream"),
    MethodRow("threads.runs.steps.retrieve", DIFFERENT, _STEPS),
    MethodRow("threads.runs.steps.list", DIFFERENT, _STEPS),
    MethodRow("assistants.files.*", NOT_SERVED, _OF_VERSION_1),
    MethodRow("threads.messages.files.*", NOT_SERVED, _OF_VERSION_1),
    MethodRow("vector_stores.*", NOT_SERVED, _MOVED),
)
"""Every method; a name that ends in ``.*`` stands for all below it, of SDKs older than those that are supported."""

UNKNOWN = MethodRow("*", NOT_SERVED, "No supported version of the SDK has this method.")
"""For what stands below `NAMESPACES` and has no row."""

NAMESPACES = ("assistants", "threads", "vector_stores")
"""What is, or was, the old API below ``client.beta``."""

OTHER_NAMESPACES = ("agents", "chat", "chatkit", "realtime", "responses")
"""What else stands below ``client.beta``: not the old API, so it is passed through to OpenAI untouched."""

ADDRESSES = MethodRow(
    "/v1/assistants, /v1/threads",
    NOT_SERVED,
    "An HTTP client of its own does not pass through the drop-in: call it through `client`, or send it to"
    " `assistantguard serve`.",
)
"""For programs that write the old API's addresses out and call them without the SDK."""

_MAKING_ASSISTANTS = ("assistants.create", "assistants.update")
_MAKING_RUNS = (
    "threads.create_and_run",
    "threads.create_and_run_poll",
    "threads.create_and_run_stream",
    "threads.runs.create",
    "threads.runs.create_and_poll",
    "threads.runs.create_and_stream",
    "threads.runs.stream",
)

PARAMETERS = (
    ParameterRow(
        "truncation_strategy",
        DIFFERENT,
        "`last_messages` is kept to. `auto` is the rotation of the policies: a thread that grew long goes on with its"
        " last turns and a digest, where OpenAI dropped messages from the middle. Set it up with `ThreadRotation`.",
        _MAKING_RUNS,
        unless="last_messages",
        takers="all that start a run",
    ),
    ParameterRow(
        "max_prompt_tokens",
        DIFFERENT,
        "The tokens are counted before each request, and the run ends `incomplete` before it passes the limit; the"
        " thread is not cut to fit. `ThreadRotation` keeps it short.",
        _MAKING_RUNS,
        takers="all that start a run",
    ),
    ParameterRow(
        "tools",
        DIFFERENT,
        "Code runs in a container, which has its own price, takes 50 files and loses them after 20 minutes without use:"
        " fetch what it writes before, with `client.containers.files.content.retrieve(…)`.",
        (*_MAKING_ASSISTANTS, *_MAKING_RUNS),
        value="code_interpreter",
        takers="all that start a run, make an assistant or change one",
    ),
    ParameterRow(
        "tools",
        DIFFERENT,
        "The ranker `default_2024_08_21` is no more: `auto` ranks.",
        (*_MAKING_ASSISTANTS, *_MAKING_RUNS),
        value="default_2024_08_21",
        takers="all that start a run, make an assistant or change one",
    ),
    ParameterRow(
        "tools",
        NOT_SERVED,
        "The tool `retrieval` was part of Assistants v1 alone: use `file_search`.",
        (*_MAKING_ASSISTANTS, *_MAKING_RUNS),
        value="retrieval",
        takers="all that start a run, make an assistant or change one",
    ),
    ParameterRow(
        "tool_resources",
        DIFFERENT,
        "A vector store here and another one in `thread` are refused (400): a thread has one, so name one of them.",
        ("threads.create_and_run", "threads.create_and_run_poll", "threads.create_and_run_stream"),
        value="file_search",
    ),
    ParameterRow("file_ids", NOT_SERVED, _OF_VERSION_1, (*_MAKING_ASSISTANTS, "threads.messages.create")),
    ParameterRow(
        "role",
        DIFFERENT,
        "The message is sent to the model as the assistant's own, its parts joined to one text. An image in it is"
        " refused (400): send it in a message of the user.",
        ("threads.messages.create",),
        value="assistant",
    ),
)
"""Keyword arguments that differ; all others are served as they were."""

FIELDS = (
    FieldRow(
        "ids of objects that OpenAI made",
        DIFFERENT,
        "They are not found (404) until `assistantguard import` has brought the objects here, under the same ids.",
    ),
    FieldRow(
        "message.content[].text.annotations[].text",
        DIFFERENT,
        "A citation is marked in the text as `【0†source】`, numbered within its message; the number of the search"
        " that it came from is lost. To replace the marks by footnotes works as it did.",
        r"\bannotations?(\[\])?\.text\b",
    ),
    FieldRow(
        "message.content[].text.annotations[].file_citation.quote",
        NOT_SERVED,
        "The Responses API quotes nothing. Read what was found from the run's steps, with `include`.",
        r"\bfile_citation\.quote\b",
    ),
    FieldRow(
        "message.content[].text.annotations[].file_path.file_id",
        DIFFERENT,
        "The file lies in a container, not among the files, and is lost after 20 minutes without use: fetch it before,"
        " with `client.containers.files.content.retrieve(…)`.",
        r"\bfile_path\.file_id\b",
    ),
    FieldRow(
        "message.content[].image_file.file_id",
        DIFFERENT,
        "Of an image that code interpreter drew: it lies in a container, as above.",
        r"\bimage_file\.file_id\b",
    ),
    FieldRow(
        "step.step_details.tool_calls[].code_interpreter.outputs[].image.file_id",
        NOT_SERVED,
        "Of an image the Responses API names an address, no file. Read the files that the message names.",
        r"\bimage\.file_id\b",
    ),
    FieldRow(
        "step.usage",
        DIFFERENT,
        "It is told for each answer, and stands at the answer's last step. Read `run.usage`.",
        r"step\.usage\b",
    ),
    FieldRow(
        "created_at, completed_at and the other times",
        DIFFERENT,
        "They are times of this machine's clock.",
    ),
    FieldRow(
        "run.last_error.code",
        DIFFERENT,
        "Codes that the old API did not have become one of its three. A run that a cap or a budget does not allow ends"
        " with `rate_limit_exceeded`. The message says more.",
    ),
    FieldRow(
        "run.incomplete_details.reason",
        DIFFERENT,
        "A run whose answer a content filter ended says `max_completion_tokens`; the message's own"
        " `incomplete_details` say `content_filter`.",
    ),
    FieldRow(
        "OpenAI's dashboard",
        NOT_SERVED,
        "It shows no assistant, thread or run, because they are kept in your ledger. See `assistantguard threads`.",
    ),
)
"""What differs in the answers; all other fields are as they were."""
