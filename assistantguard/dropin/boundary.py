"""What `guard_calls` bounds, entry point by entry point; the tests run every way that is said to be bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assistantguard.models.values import Value

__all__ = ["BOUNDARY", "BoundaryRow", "Verdict"]

Verdict = Literal["bounded", "bills no tokens", "not bounded"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BoundaryRow(Value):
    """Entry points of a client that are alike."""

    entry: str
    """As Markdown."""
    verdict: Verdict
    note: str
    covers: Sequence[str] = ()
    """Methods of the client, or the beginnings of their dotted names."""
    ways: Sequence[str] = ()
    """The ways to call them that the tests run."""


BOUNDARY: tuple[BoundaryRow, ...] = (
    BoundaryRow(
        "`client.responses.create`, `parse`, `stream`, also with `stream=True`",
        "bounded",
        "`max_output_tokens` is lowered to what is left. Input that only the server knows (a conversation, an earlier"
        " response, pictures, files) is counted by the server first, and taken for a whole context window where the"
        " server cannot count it",
        ("responses.create", "responses.parse", "responses.stream"),
        ("responses.create", "responses.create(stream=True)", "responses.parse", "responses.stream"),
    ),
    BoundaryRow(
        "`client.responses.create(background=True)` with `retrieve` and `cancel`",
        "bounded",
        "held until its end is read through this client; one whose end is never read is booked whole, as an estimate",
        ("responses.cancel", "responses.retrieve"),
        ("responses.create(background=True)", "responses.create(background=True, stream=True)"),
    ),
    BoundaryRow(
        "`client.responses.compact`",
        "bounded",
        "no parameter bounds its output: refused where less is left than the model may write",
        ("responses.compact",),
        ("responses.compact",),
    ),
    BoundaryRow(
        "`client.chat.completions.create`, `parse`, `stream`, also with `stream=True`",
        "bounded",
        "`max_completion_tokens` (or `max_tokens`, where the request has it) is lowered; `n` answers share what is"
        " left. A stream is asked for its usage, which the application sees only if it asked, too. A picture counts"
        " 50,000 tokens before the answer, any other file a whole context window",
        ("beta.chat", "chat.completions.create", "chat.completions.parse", "chat.completions.stream"),
        (
            "chat.completions.create",
            "chat.completions.create(stream=True)",
            "chat.completions.parse",
            "chat.completions.stream",
        ),
    ),
    BoundaryRow(
        "`client.completions.create`, also with `stream=True`",
        "bounded",
        "as above; all prompts and `best_of` count",
        ("completions",),
        ("completions.create", "completions.create(stream=True)"),
    ),
    BoundaryRow(
        "`client.beta.responses`, where the SDK has it",
        "bounded",
        "as `client.responses`",
        ("beta.responses.cancel", "beta.responses.compact", "beta.responses.create", "beta.responses.retrieve"),
    ),
    BoundaryRow(
        "all of these through `with_raw_response`, `with_streaming_response`, `with_options`, `copy`, `client.post`",
        "bounded",
        "whatever sends the request, it passes the client's transport; each of the SDK's own retries is held and booked"
        " by itself",
        (),
        ("with_raw_response", "with_streaming_response", "with_options", "copy", "post"),
    ),
    BoundaryRow(
        "`client.beta.threads`, `client.beta.assistants`",
        "bounded",
        "as runs, whether calls are guarded or not",
        ("beta.assistants", "beta.threads"),
    ),
    BoundaryRow(
        "`client.responses.input_tokens`, stored responses and completions, conversations, files, models, moderations"
        " and what else makes no model work",
        "bills no tokens",
        "passed through",
        (
            "admin",
            "beta.responses.delete",
            "beta.responses.input_items",
            "beta.responses.input_tokens",
            "chat.completions.delete",
            "chat.completions.list",
            "chat.completions.messages",
            "chat.completions.retrieve",
            "chat.completions.update",
            "content_provenance_checks",
            "conversations",
            "files",
            "models",
            "moderations",
            "responses.delete",
            "responses.input_items",
            "responses.input_tokens",
            "safety",
            "skills",
            "uploads",
            "webhooks",
        ),
    ),
    BoundaryRow(
        "`client.embeddings`, `images`, `audio`, `videos`, `vector_stores`, `containers`, `batches`, `fine_tuning`,"
        " `evals`, `decisions`, `beta.agents`, `beta.chatkit`",
        "not bounded",
        "passed through untouched and not booked: bound them by a project budget at OpenAI",
        (
            "audio",
            "batches",
            "beta.agents",
            "beta.chatkit",
            "containers",
            "decisions",
            "embeddings",
            "evals",
            "fine_tuning",
            "images",
            "vector_stores",
            "videos",
        ),
    ),
    BoundaryRow(
        "`client.realtime`, `client.live`, `client.beta.realtime`, `client.responses.connect`",
        "not bounded",
        "they speak over connections that the client's transport does not see",
        ("beta.realtime", "beta.responses.connect", "live", "realtime", "responses.connect"),
    ),
    BoundaryRow(
        "the client that was passed to `drop_in`, and a copy with another `http_client`",
        "not bounded",
        "they have transports of their own: keep the guarded client only",
    ),
    BoundaryRow(
        "what built-in tools (web search, file search, code interpreter, MCP) make a model read within one answer",
        "not bounded",
        "nobody knows it before; it is booked with the answer, and counts for the next call",
    ),
)
