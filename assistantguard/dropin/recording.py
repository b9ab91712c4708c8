"""What a run leaves behind: messages, run steps, and the events that tell of them in the official order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assistantguard.backends.reading import get
from assistantguard.dropin import objects
from assistantguard.dropin.ids import new_id
from assistantguard.dropin.translation import attached_files, text_content
from assistantguard.storage.documents import Document

if TYPE_CHECKING:
    from assistantguard.engine.ports import ModelAnswer
    from assistantguard.models import ToolOutput, Usage

__all__ = ["HIDDEN", "Recorder", "attach", "parsed", "requires_action_of", "shown", "with_outputs"]

Body = dict[str, Any]
HIDDEN = "assistantguard"
"""Under this name a document keeps what is not shown."""


def shown(body: Mapping[str, Any]) -> Body:
    """A document's body as the application sees it."""
    return {name: value for name, value in body.items() if name != HIDDEN}


def attach(hidden: Body, messages: Sequence[Mapping[str, Any]]) -> None:
    """Note with what is hidden of a thread which files messages bring to its tools."""
    for name, tool in (("files", "file_search"), ("code_files", "code_interpreter")):
        hidden[name] = [*dict.fromkeys([*hidden.get(name, ()), *attached_files(messages, tool)])]


class Recorder:
    """Writes down one leg of a run: from its beginning, or from its tool outputs, to its end or the next tool calls.

    Args:
        run: The run's object.
        now: The clock, Unix seconds.
        tell: Is told each event as it happens; None where nobody reads them.
    """

    def __init__(self, run: Body, now: Callable[[], float], tell: Callable[[tuple[str, Any]], None] | None) -> None:
        self.run = run
        self.added: list[Document] = []
        """Documents that are to be added."""
        self._now = now
        self._tell = tell
        self._message: Body | None = None
        self._step: Body | None = None
        self._pieces: list[str] = []
        """What was told of the message so far."""
        self._waiting: Body | None = None
        """The step whose calls wait for outputs."""

    def tell(self, event: str, data: Any) -> None:
        """Tell an event."""
        if self._tell is not None:
            self._tell((event, shown(data) if isinstance(data, dict) else data))

    def tell_run(self, *words: str) -> None:
        """Tell events of the run as it is now."""
        for word in words:
            self.tell(f"thread.run.{word}", self.run)

    def said(self, text: str) -> None:
        """A piece of the model's text arrived."""
        if self._tell is None:
            return
        if self._message is None:
            self._begin_message()
        assert self._message is not None
        self._pieces.append(text)
        delta = {"content": [{"index": 0, "type": "text", "text": {"value": text}}]}
        self.tell("thread.message.delta", {"id": self._message["id"], "object": "thread.message.delta", "delta": delta})

    def discarded(self, reason: str = "run_failed") -> None:
        """What was said since the last answer does not count, and nobody waits for the outputs of calls any more."""
        status = "cancelled" if reason == "run_cancelled" else "failed"
        if self._waiting is not None:
            self.tell(f"thread.run.step.{status}", objects.step_ended(self._waiting, status, self._now()))
            self._waiting = None
        if self._message is None or self._step is None:
            return
        now = self._now()
        content = text_content("".join(self._pieces)) if self._pieces else []
        message = objects.message_ended(self._message, content, now, incomplete_reason=reason)
        self.tell("thread.message.incomplete", message)
        self.tell(f"thread.run.step.{status}", objects.step_ended(self._step, status, now))
        self._message = self._step = None

    def answered(self, answer: ModelAnswer) -> None:
        """An answer counts: its message and its steps are written, the last step with its usage.

        Built-in tools were used before the model spoke. Where its words were told as they came, that step comes after.
        """
        calls = _calls_of(answer)
        functions = [call for call in calls if call["type"] == "function"]
        used = [call for call in calls if call["type"] != "function"]
        told = self._message is not None
        if used and not told:
            self._add_calls(used, usage=None if answer.text or functions else answer.usage)
        if answer.text:
            self._end_message(answer, last=not functions and not (used and told))
        if used and told:
            self._add_calls(used, usage=None if functions else answer.usage)
        if functions:
            self._add_calls(functions, usage=answer.usage, waits=bool(answer.tool_calls))

    def _begin_message(self) -> None:
        now, run = self._now(), self.run
        message_id = new_id("msg")
        step = objects.message_step(new_id("step"), now, run, message_id, status="in_progress")
        message = objects.new_message(
            message_id,
            now,
            run["thread_id"],
            {"role": "assistant", "content": ""},
            assistant_id=run["assistant_id"],
            run_id=run["id"],
            status="in_progress",
        )
        message["content"] = []
        self._message, self._step, self._pieces = message, step, []
        for word in ("created", "in_progress"):
            self.tell(f"thread.run.step.{word}", step)
        for word in ("created", "in_progress"):
            self.tell(f"thread.message.{word}", message)

    def _end_message(self, answer: ModelAnswer, *, last: bool) -> None:
        if self._message is None:
            self._begin_message()
            if self._tell is not None:
                self.said(answer.text)
        assert self._message is not None
        assert self._step is not None
        now, run = self._now(), self.run
        cut = answer.status == "incomplete"
        message = {
            **self._message,
            "content": text_content(answer.text, _annotations(answer.output)),
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else int(now),
            "incomplete_at": int(now) if cut else None,
        }
        if cut:
            filtered = answer.incomplete_reason == "content_filter"
            message["incomplete_details"] = {"reason": "content_filter" if filtered else "max_tokens"}
        step = objects.step_ended(self._step, "completed", now, usage=answer.usage if last else None)
        self.added.append(Document("message", message["id"], run["thread_id"], now, message, run["id"]))
        self.added.append(Document("step", step["id"], run["id"], now, step))
        self.tell("thread.message.incomplete" if cut else "thread.message.completed", message)
        self.tell("thread.run.step.completed", step)
        self._message = self._step = None

    def _add_calls(self, calls: list[Body], *, usage: Usage | None, waits: bool = False) -> None:
        """Write down a step of tool calls; with `waits` it stays in progress until their outputs come."""
        now, run = self._now(), self.run
        empty = objects.tool_calls_step(new_id("step"), now, run, [], status="in_progress")
        for word in ("created", "in_progress"):
            self.tell(f"thread.run.step.{word}", empty)
        step = {**empty, "step_details": {"type": "tool_calls", "tool_calls": calls}}
        details = {"type": "tool_calls", "tool_calls": [{"index": at, **call} for at, call in enumerate(calls)]}
        self.tell(
            "thread.run.step.delta",
            {"id": step["id"], "object": "thread.run.step.delta", "delta": {"step_details": details}},
        )
        if waits:
            if usage is not None:
                step["usage"] = objects.usage_object(usage)
            self._waiting = step
        else:
            step = objects.step_ended(step, "completed", now, usage=usage)
            self.tell("thread.run.step.completed", step)
        self.added.append(Document("step", step["id"], run["id"], now, step, "waits" if waits else ""))


def with_outputs(step: Mapping[str, Any], outputs: Sequence[ToolOutput], now: float) -> Body:
    """A step of tool calls with their outputs, completed."""
    texts = {output.call_id: output.output for output in outputs}
    calls = [
        {**call, "function": {**call["function"], "output": texts[call["id"]]}}
        if call["type"] == "function" and call["id"] in texts
        else call
        for call in step["step_details"]["tool_calls"]
    ]
    usage = step.get("usage")
    ended = objects.step_ended({**step, "step_details": {"type": "tool_calls", "tool_calls": calls}}, "completed", now)
    return {**ended, "usage": usage}


def _calls_of(answer: ModelAnswer) -> list[Body]:
    """The tool calls of an answer, those of built-in tools among them, as a step shows them."""
    calls: list[Body] = []
    known = {call.id: call for call in answer.tool_calls}
    for entry in answer.output:
        kind, entry_id = get(entry, "type"), str(get(entry, "id") or "")
        if kind == "function_call":
            call = known.pop(get(entry, "call_id"), None)
            if call is not None:
                calls.append(objects.function_call(call))
        elif kind == "file_search_call":
            calls.append({"id": entry_id, "type": "file_search", "file_search": _search(entry)})
        elif kind == "code_interpreter_call":
            calls.append({"id": entry_id, "type": "code_interpreter", "code_interpreter": _code(entry)})
    calls += [objects.function_call(call) for call in known.values()]
    return calls


def _search(entry: Any) -> Body:
    results = [
        {
            "file_id": str(get(result, "file_id") or ""),
            "file_name": str(get(result, "filename") or ""),
            "score": float(get(result, "score") or 0.0),
            "content": [{"type": "text", "text": str(get(result, "text") or "")}],
        }
        for result in get(entry, "results") or ()
    ]
    return {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}, "results": results}


def _code(entry: Any) -> Body:
    logs = [
        {"type": "logs", "logs": str(get(output, "logs") or "")}
        for output in get(entry, "outputs") or ()
        if get(output, "type") == "logs"
    ]
    return {"input": str(get(entry, "code") or ""), "outputs": logs}


def _annotations(output: Iterable[Any]) -> list[Any]:
    return [
        annotation
        for entry in output
        if get(entry, "type") == "message"
        for part in get(entry, "content") or ()
        for annotation in get(part, "annotations") or ()
    ]


def requires_action_of(body: Mapping[str, Any]) -> list[str]:
    """The ids of the calls that a run waits for."""
    action = body.get("required_action") or {}
    return [call["id"] for call in action.get("submit_tool_outputs", {}).get("tool_calls", ())]


def parsed(body: bytes) -> Any:
    """A request's JSON body; None where it is empty.

    Raises:
        ValueError: It is no JSON, or too deep.
    """
    try:
        return _decode(body.decode(json.detect_encoding(body), "surrogatepass")) if body.strip() else None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
