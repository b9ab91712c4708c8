"""Reading what an Assistants server sent, without trusting it: runs, their steps, messages.

A run is one object at the server, and to the engine it is a chain of answers: each time that it stops for tool
outputs, one answer has ended. Such a stretch is a *round*. Nothing here raises; what is unknown comes back as None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assistantguard.backends.reading import get
from assistantguard.engine.ports import ModelAnswer
from assistantguard.models import Failure, Item, RunStatus, ToolCall, Usage

__all__ = [
    "ENDED",
    "Rounds",
    "answer_of_run",
    "item_of_message",
    "items_of_pending",
    "message_text",
    "messages_of_run",
    "outputs_of_steps",
    "pending_calls",
    "status_of",
]

ENDED = frozenset({"cancelled", "failed", "completed", "incomplete", "expired"})
"""Statuses in which a run stays for good."""
_OPEN: Mapping[str, RunStatus] = {"queued": "queued", "in_progress": "in_progress", "cancelling": "cancelling"}
_CODES = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
_PASSES = (
    r"something went wrong|server had an error|internal server error|overloaded|rate limit|try again (in|later)"
    r"|temporarily|timed? ?out"
)
"""What servers with codes of their own say of failures that pass."""
_AGAIN_IN = re.compile(r"try again in (\d+(?:\.\d+)?) ?(ms|m(?:in|$|\b)|s)", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0}


def status_of(run: Any) -> str:
    """A run's status in the server's word; empty where it has none."""
    return str(get(run, "status") or "")


def pending_calls(run: Any) -> tuple[ToolCall, ...]:
    """The calls that a run in ``requires_action`` waits for."""
    if status_of(run) != "requires_action":
        return ()
    calls = get(run, "required_action", "submit_tool_outputs", "tool_calls")
    return tuple(map(_tool_call, calls if isinstance(calls, list) else ()))


def items_of_pending(run: Any) -> list[Item]:
    """The same as items that have no output yet, newest first. Their ids are ours: the run's and the call's."""
    run_id = get(run, "id")
    return [
        Item("function_call", call.arguments_json, id=f"{run_id}#{call.id}", call_id=call.id, name=call.name)
        for call in reversed(pending_calls(run))
    ]


def item_of_message(message: Any) -> Item:
    """A message, reduced to what healing and carry-over must know."""
    role = get(message, "role")
    status = get(message, "status")
    return Item(
        "message",
        message_text(message),
        role if role in {"user", "assistant"} else None,
        get(message, "id"),
        status=str(status) if status else None,
    )


def message_text(message: Any) -> str:
    """A message's text, refusals included."""
    content = get(message, "content")
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in content if isinstance(content, list) else ():
        text = get(part, "text")
        value = text if isinstance(text, str) else get(text, "value")
        texts.append(str(value or get(part, "refusal") or ""))
    return "".join(texts)


def messages_of_run(newest_first: Sequence[Any], run_id: str) -> list[Any]:
    """The messages that a run wrote, oldest first.

    Where messages do not tell their run, they are those behind the newest one of the user.
    """
    found: list[Any] = []
    for message in newest_first:
        told = get(message, "run_id")
        if told:
            if told == run_id and get(message, "role") == "assistant":
                found.append(message)
        elif get(message, "role") != "assistant":
            break
        else:
            found.append(message)
    return found[::-1]


def outputs_of_steps(steps: Sequence[Any]) -> list[dict[str, Any]]:
    """The functions that a run had called: id, name, arguments and, where it was given, the output."""
    found: list[dict[str, Any]] = []
    for step in steps:
        for call in _calls_of(step):
            if get(call, "type") == "function":
                called = _tool_call(call)
                output = get(call, "function", "output")
                found.append(
                    {"id": called.id, "name": called.name, "arguments": called.arguments_json, "output": output}
                )
    return found


@dataclass(slots=True, eq=False, repr=False)
class Rounds:
    """The steps of a run, parted where it stopped for tool outputs.

    Args:
        run: The run.
        steps: Its steps, oldest first; None where the server does not list them.
        known: The newest round that is known to have begun.
    """

    run: Any
    steps: Sequence[Any] | None
    known: int

    @property
    def parts(self) -> list[list[Any]]:
        """The steps of each round; one at least."""
        parts: list[list[Any]] = [[]]
        for step in self.steps or ():
            parts[-1].append(step)
            if any(get(call, "type") == "function" for call in _calls_of(step)):
                parts.append([])
        return parts

    @property
    def last(self) -> int:
        """The number of the newest round."""
        parts = self.parts
        found = len(parts)
        if found > 1 and not parts[-1]:
            went_on = status_of(self.run) == "completed" or get(parts[-2][-1], "status") == "completed"
            found -= status_of(self.run) == "requires_action" or not went_on
        return max(found, self.known)

    def of(self, number: int) -> list[Any]:
        """The steps of a round."""
        parts = self.parts
        return parts[number - 1] if number <= len(parts) else []

    def usage(self, number: int, *, produced: bool) -> Usage | None:
        """What a round used: what is left of the run's usage for its last one, what its steps tell for the others.

        Where steps tell nothing and the run has ended, all of the run's usage stands with its last round.
        """
        total = _usage(get(self.run, "usage"), produced=produced)
        own = self._of_steps(number)
        if number < self.last:
            return own or (Usage(requests=1) if total is not None and status_of(self.run) in ENDED else None)
        if total is None:
            return own
        for earlier in range(1, number):
            total -= self._of_steps(earlier) or Usage()
        return replace(
            total,
            input_tokens=max(0, total.input_tokens),
            cached_tokens=max(0, total.cached_tokens),
            output_tokens=max(0, total.output_tokens),
            reasoning_tokens=max(0, total.reasoning_tokens),
            requests=1,
        )

    def _of_steps(self, number: int) -> Usage | None:
        steps = self.of(number)
        told = [_usage(get(step, "usage"), produced=True) for step in steps]
        known = [each for each in told if each is not None]
        if not known or len(known) < len(told):
            return None
        return replace(sum(known, Usage()), requests=1)


def answer_of_run(
    response_id: str, rounds: Rounds, number: int, messages: Sequence[Any], request_id: str | None
) -> ModelAnswer:
    """One round of a run as an answer.

    Args:
        response_id: Our name for it.
        rounds: The run and its steps.
        number: Which round; 1 is the first.
        messages: What the run wrote, oldest first.
        request_id: The ``x-request-id`` of the newest call.
    """
    run = rounds.run
    status, model = status_of(run), str(get(run, "model") or "")
    if status not in ENDED and status != "requires_action":
        return ModelAnswer(response_id, _OPEN.get(status, "in_progress"), "", (), None, model, request_id=request_id)
    steps, is_last = rounds.of(number), number >= rounds.last
    texts = _texts(rounds, number, messages)
    calls = pending_calls(run) if is_last else tuple(_tool_call(call) for step in steps for call in _functions(step))
    builtin = _builtin_calls(steps)
    failed = is_last and status in {"failed", "cancelled", "expired"}
    told: RunStatus = "completed"
    if is_last and (failed or status == "incomplete"):
        told = status  # type: ignore[assignment] # one of those four
    pending = items_of_pending(run) if is_last else []
    ids = [str(get(message, "id")) for message in messages if get(message, "id")]
    return ModelAnswer(
        response_id,
        told,
        "\n\n".join(texts),
        calls if told == "completed" else (),
        rounds.usage(number, produced=bool(texts or calls)),
        model,
        _failure(run, status, request_id) if failed else None,
        str(get(run, "incomplete_details", "reason") or "") or None,
        None,
        request_id,
        builtin,
        len(texts) + len(calls),
        pending[0].id if pending else ids[-1] if ids else None,
        bool(builtin) or get(run, "reasoning_effort") not in {None, "none"},
    )


def _texts(rounds: Rounds, number: int, messages: Sequence[Any]) -> list[str]:
    """What was written in a round. Steps tell which messages that is; without them it is all that the run wrote."""
    if rounds.steps:
        others = {
            get(step, "step_details", "message_creation", "message_id")
            for other in range(1, len(rounds.parts) + 1)
            if other != number
            for step in rounds.of(other)
        }
        messages = [message for message in messages if get(message, "id") not in others]
    return [text for text in map(message_text, messages) if text]


def _failure(run: Any, status: str, request_id: str | None) -> Failure:
    from assistantguard.failures import Facts, classify  # the table is made when something first fails

    if status != "failed":
        names = ", ".join(call.name for call in map(_tool_call, _required(run)))
        waited = f" while it waited for outputs of {names}" if names else ""
        return classify(Facts("response", f"the run ended {status}{waited}", code=status, request_id=request_id))
    message = str(get(run, "last_error", "message") or "the run ended failed")
    code = get(run, "last_error", "code")
    if code is None or (code not in _CODES and re.search(_PASSES, message, re.IGNORECASE)):
        code = "server_error"
    return classify(Facts("response", message, code=str(code), retry_after=_wait(message), request_id=request_id))


def _wait(message: str) -> float | None:
    """Seconds to wait, where a failed run's message tells them."""
    found = _AGAIN_IN.search(message)
    return None if found is None else float(found[1]) * _UNITS.get(found[2].lower(), 60.0)


def _required(run: Any) -> list[Any]:
    calls = get(run, "required_action", "submit_tool_outputs", "tool_calls")
    return calls if isinstance(calls, list) else []


def _builtin_calls(steps: Sequence[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in steps:
        for call in _calls_of(step):
            kind = str(get(call, "type") or "")
            if kind and kind != "function":
                found[kind] = found.get(kind, 0) + 1
    return found


def _functions(step: Any) -> list[Any]:
    return [call for call in _calls_of(step) if get(call, "type") == "function"]


def _calls_of(step: Any) -> list[Any]:
    calls = get(step, "step_details", "tool_calls")
    return calls if isinstance(calls, list) else []


def _tool_call(entry: Any) -> ToolCall:
    text = get(entry, "function", "arguments")
    text = text if isinstance(text, str) else json.dumps(text if text is not None else {})
    return ToolCall.of(str(get(entry, "id") or ""), str(get(entry, "function", "name") or ""), text)


def _usage(usage: Any, *, produced: bool) -> Usage | None:
    """What was billed; None where it was not reported, or reported as all zeros although something was produced."""
    read, written = _whole(get(usage, "prompt_tokens")), _whole(get(usage, "completion_tokens"))
    if read is None or written is None or (produced and not read + written):
        return None
    details = get(usage, "prompt_token_details") or get(usage, "prompt_tokens_details")
    cached = _whole(get(details, "cached_tokens")) or 0
    reasoning = _whole(get(usage, "completion_tokens_details", "reasoning_tokens")) or 0
    return Usage(read, min(cached, read), 0, written, min(reasoning, written), 0, 1)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
