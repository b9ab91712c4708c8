"""A tool call that a model asked for, and what was answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from assistantguard.models.values import Value

__all__ = ["ToolCall", "ToolOutput"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ToolCall(Value):
    """One function call out of a model's answer."""

    id: str
    """The ``call_id`` that its output must carry."""
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    """The arguments, decoded. Empty where `arguments_json` is not a JSON object; `invalid` says so."""
    arguments_json: str = "{}"
    """The arguments as the model wrote them."""
    invalid: str | None = None
    """Why `arguments_json` could not be decoded, or None."""

    @classmethod
    def of(cls, call_id: str, name: str, arguments_json: str) -> ToolCall:
        """A call with its arguments decoded, as far as they can be."""
        invalid: str | None = None
        arguments: Any = {}
        try:
            arguments = json.loads(arguments_json) if arguments_json.strip() else {}
        except ValueError as error:
            invalid = f"the arguments are not JSON: {error}"
        if not isinstance(arguments, dict):
            arguments, invalid = {}, "the arguments are not a JSON object"
        return cls(call_id, name, arguments, arguments_json, invalid)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ToolOutput(Value):
    """The answer to one `ToolCall`."""

    call_id: str
    output: str
    failed: bool = False
    """Whether the output tells the model of a failure."""
    error_type: str | None = None
    """The class name of the failure (telemetry may carry it; the text stays with the model)."""
    seconds: float = 0.0
    """How long the tool ran."""
