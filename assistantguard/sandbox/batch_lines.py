"""The lines of a batch's files: the requests that are read, and the outcomes that are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistantguard._refusals import ApiProblem

__all__ = ["BatchLine", "answered_line", "cancelled_line", "expired_line", "read_lines", "refused_line", "written"]

MOST_LINES = 50_000
_FIELDS = ("custom_id", "method", "url", "body")
_EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
_CANCELLED = ("batch_cancelled", "This request was not executed, since the batch was cancelled before.")


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch."""

    custom_id: str
    body: dict[str, Any]


def read_lines(content: bytes, endpoint: str) -> tuple[list[BatchLine], list[dict[str, Any]]]:
    """Read the input of a batch.

    Args:
        content: The file.
        endpoint: What every line must ask for.

    Returns:
        The requests, and what is wrong with the file as the API lists it. There is no batch where anything is wrong.
    """
    lines: list[BatchLine] = []
    problems: list[dict[str, Any]] = []
    seen: set[str] = set()
    models: dict[str, None] = {}

    def wrong(line: int | None, code: str, message: str, param: str | None = None) -> None:
        problems.append({"code": code, "line": line, "message": message, "param": param})

    rows = [(number, raw) for number, raw in enumerate(content.split(b"\n"), start=1) if raw.strip()]
    if not rows:
        wrong(None, "empty_file", "The batch input file is empty. It must hold at least one request.")
    if len(rows) > MOST_LINES:
        text = f"The batch input file holds {len(rows):,} requests. The limit is {MOST_LINES:,} requests per batch."
        wrong(None, "too_many_tasks", text)
        return lines, problems
    for number, raw in rows:
        line = _parsed(raw)
        if line is None:
            wrong(number, "invalid_json_line", "This line is not parseable as valid JSON.")
            continue
        if not _whole(line, endpoint, lambda *what, at=number: wrong(at, *what)):
            continue
        custom_id, model = line["custom_id"], line["body"]["model"]
        if custom_id in seen:
            text = (
                f"The custom_id '{custom_id}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            wrong(number, "duplicate_custom_id", text, "custom_id")
        seen.add(custom_id)
        models[model] = None
        if model != next(iter(models)):
            text = (
                f"The provided model '{model}' does not match the model '{next(iter(models))}' of the requests before. "
                "All requests in a batch must be for the same model."
            )
            wrong(number, "mismatched_model", text, "body.model")
        lines.append(BatchLine(custom_id, line["body"]))
    return lines, problems


def _parsed(raw: bytes) -> Any:
    """The line, or None where it is no JSON object."""
    try:
        line = json.loads(raw.decode())
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _whole(line: dict[str, Any], endpoint: str, wrong: Callable[..., None]) -> bool:
    """Whether a line has all that a request needs."""
    absent = [name for name in _FIELDS if not line.get(name)]
    if absent:
        wrong("missing_required_parameter", f"Missing required parameter: '{absent[0]}'.", absent[0])
        return False
    kinds = {"custom_id": str, "method": str, "url": str, "body": dict}
    for name, kind in kinds.items():
        if not isinstance(line[name], kind):
            expected = "an object" if kind is dict else "a string"
            wrong("invalid_type", f"Invalid type for '{name}': expected {expected}.", name)
            return False
    for name in line:
        if name not in kinds:
            wrong("unknown_parameter", f"Unknown parameter: '{name}'.", name)
            return False
    if line["method"] != "POST":
        wrong("invalid_method", "The method of a request in a batch must be 'POST'.", "method")
        return False
    if line["url"] != endpoint:
        wrong("invalid_url", "The URL provided for this request does not match the batch endpoint.", "url")
        return False
    model = line["body"].get("model")
    if not isinstance(model, str) or not model:
        wrong("missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model")
        return False
    return True


def answered_line(line_id: str, custom_id: str, request_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the output file holds of a request that was answered."""
    response = {"status_code": 200, "request_id": request_id, "body": body}
    return {"id": line_id, "custom_id": custom_id, "response": response, "error": None}


def refused_line(line_id: str, custom_id: str, request_id: str, problem: ApiProblem) -> dict[str, Any]:
    """What the error file holds of a request that was refused."""
    response = {"status_code": problem.status, "request_id": request_id, "body": problem.body()}
    return {"id": line_id, "custom_id": custom_id, "response": response, "error": None}


def expired_line(line_id: str, custom_id: str) -> dict[str, Any]:
    """What the error file holds of a request that its batch had no time for."""
    return _unexecuted(line_id, custom_id, *_EXPIRED)


def cancelled_line(line_id: str, custom_id: str) -> dict[str, Any]:
    """What the error file holds of a request that its batch was cancelled before."""
    return _unexecuted(line_id, custom_id, *_CANCELLED)


def _unexecuted(line_id: str, custom_id: str, code: str, message: str) -> dict[str, Any]:
    return {"id": line_id, "custom_id": custom_id, "response": None, "error": {"code": code, "message": message}}


def written(lines: list[dict[str, Any]]) -> bytes:
    """Write the lines of a file."""
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
