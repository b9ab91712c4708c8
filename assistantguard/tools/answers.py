"""From a tool call to what can be run, and from its end to what the model is told.

A failure reaches the model as one line without a stack trace.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pydantic
import pydantic_core

from assistantguard.models.tools import ToolCall, ToolOutput
from assistantguard.models.values import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard.tools.function import FunctionTool
    from assistantguard.tools.toolbox import Toolbox

__all__ = ["Prepared", "ToolError", "failure_of", "output_of", "prepare"]

_LONGEST_FAILURE = 500
_LONGEST_VALUE = 60
_MOST_PROBLEMS = 5
_MOST_NAMES = 20


class ToolError(Exception):
    """Raised by a tool to tell the model, in its own words, what went wrong. The first line is what it gets."""


@dataclass(slots=True, eq=False, repr=False)
class Prepared(Record):
    """A call with its function and valid arguments."""

    call: ToolCall
    tool: FunctionTool
    arguments: Mapping[str, Any]

    def run(self) -> Any:
        """Call the function: its result, or for an async function what is to be awaited."""
        return self.tool.function(**self.arguments)


def prepare(toolbox: Toolbox, call: ToolCall) -> Prepared | ToolOutput:
    """Find a call's function and validate its arguments.

    Returns:
        What to run; or the failed output for the model, where it asked for a tool that is not there or gave
        arguments that do not fit.
    """
    tool = toolbox.functions.get(call.name)
    if tool is None:
        if call.name in toolbox.names:
            return _failed(call, f"The tool {call.name} cannot be used at present.", "UnansweredTool")
        return _failed(call, _no_such_tool(toolbox, call.name), "UnknownTool")
    if call.invalid is not None:
        problem = f"Invalid arguments for {call.name}: {_first_line(call.invalid)}. Give one JSON object."
        return _failed(call, problem, "InvalidArguments")
    try:
        arguments = tool.validate(call.arguments)
    except pydantic.ValidationError as error:
        return _failed(call, f"Invalid arguments for {call.name}: {_problems(error)}", "InvalidArguments")
    except Exception as error:  # noqa: BLE001  a validator of the application may raise anything
        return _failed(call, f"Invalid arguments for {call.name}: {_described(error)}", "InvalidArguments")
    return Prepared(call, tool, arguments)


def output_of(call: ToolCall, result: Any, *, max_characters: int | None = None) -> ToolOutput:
    """Turn what a tool returned into the answer to its call.

    Text goes as it is, None as ``null``, and all else as JSON (pydantic models, dataclasses, dates, decimals and
    enumerations included). What cannot become JSON is a failure.

    Args:
        call: The call.
        result: What the tool returned.
        max_characters: The longest output; the rest is cut off, and the output says so. None for no bound.
    """
    if isinstance(result, Enum):
        result = result.value
    if isinstance(result, str):
        text = result
    else:
        try:
            text = pydantic_core.to_json(result, inf_nan_mode="strings").decode()
        except Exception as error:  # noqa: BLE001  a serialiser of the application may raise anything
            if inspect.iscoroutine(result):
                result.close()
            problem = f"The tool {call.name} returned a {type(result).__name__}, which cannot become JSON."
            return _failed(call, problem, type(error).__name__)
    return ToolOutput(call.id, _bounded(_sendable(text), max_characters))


def failure_of(call: ToolCall, error: BaseException) -> ToolOutput:
    """Turn what a tool raised into the answer to its call: one line, without a stack trace.

    A `ToolError` speaks for itself; any other exception is named with the first line of its message.
    """
    return _failed(call, _described(error), type(error).__name__)


def _failed(call: ToolCall, text: str, error_type: str) -> ToolOutput:
    return ToolOutput(call.id, _shortened(_sendable(text), _LONGEST_FAILURE), failed=True, error_type=error_type)


def _described(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, pydantic.ValidationError):
        return f"{name}: {_problems(error)}"
    try:
        message = _first_line(str(error))
    except Exception:  # noqa: BLE001  an exception whose text cannot be had still has a name
        message = ""
    if isinstance(error, ToolError):
        return message or name
    return f"{name}: {message}" if message else name


def _problems(error: pydantic.ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False)
    shown = [_problem(each) for each in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        shown.append(f"and {len(problems) - _MOST_PROBLEMS} more")
    return "; ".join(shown)


def _problem(details: pydantic_core.ErrorDetails) -> str:
    where = ".".join(str(part) for part in details["loc"])
    if details["type"] == "missing":
        return f"{where} is missing"
    if details["type"] == "extra_forbidden":
        return f"{where} is not an argument"
    message = _first_line(details["msg"])
    given = _shortened(repr(details["input"]), _LONGEST_VALUE)
    return f"{where}: {message}, not {given}" if where else f"{message}, not {given}"


def _no_such_tool(toolbox: Toolbox, name: str) -> str:
    asked = _shortened(repr(name), _LONGEST_VALUE)
    if not toolbox.names:
        return f"There is no tool named {asked}, and there are no others."
    names = ", ".join(toolbox.names[:_MOST_NAMES])
    more = ", …" if len(toolbox.names) > _MOST_NAMES else ""
    return f"There is no tool named {asked}. The tools are: {names}{more}"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _bounded(text: str, longest: int | None) -> str:
    if longest is None or len(text) <= longest:
        return text
    mark = f"\n[cut off: {len(text):,} characters, only the first {longest:,} at most are shown]"
    return text[: max(0, longest - len(mark))] + mark


def _sendable(text: str) -> str:
    """The text without lone surrogates, which no request can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
