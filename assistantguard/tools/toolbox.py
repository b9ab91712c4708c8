"""An assistant's tools together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError
from assistantguard.tools.function import FunctionTool, check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Toolbox"]

_LEAST_OUTPUT = 200


class Toolbox:
    """The tools of one assistant. Immutable.

    Args:
        tools: Python functions, `FunctionTool` objects, function schemas as dictionaries (flat as in Responses, or
            nested as in Chat Completions and Assistants), or built-in tools such as ``{"type": "web_search"}``.
        max_tool_output_characters: The longest output that the model gets of one call; the rest is cut off, and the
            output says so. None for no bound.

    Raises:
        ConfigurationError: A tool cannot be used, or two have one name.
    """

    def __init__(
        self,
        tools: Iterable[Callable[..., Any] | Mapping[str, Any]] = (),
        *,
        max_tool_output_characters: int | None = None,
    ) -> None:
        if max_tool_output_characters is not None and max_tool_output_characters < _LEAST_OUTPUT:
            raise ConfigurationError(
                f"max_tool_output_characters is {max_tool_output_characters}, the least is {_LEAST_OUTPUT}:"
                " raise it, or leave it out"
            )
        self.max_tool_output_characters = max_tool_output_characters
        """The longest output of one call, in characters; None for no bound."""
        self._schemas: list[dict[str, Any]] = []
        self._functions: dict[str, FunctionTool] = {}
        self._names: list[str] = []
        for each in tools:
            if isinstance(each, Mapping):
                self._add_schema(_reshaped(each))
            else:
                function = each if isinstance(each, FunctionTool) else FunctionTool(each)
                self._add_schema(function.schema)
                self._functions[function.name] = function

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools as the Responses API takes them, in the order given. Not a copy: do not change them."""
        return self._schemas

    @property
    def functions(self) -> Mapping[str, FunctionTool]:
        """The tools that are Python functions, by name."""
        return MappingProxyType(self._functions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools that the model can ask us for: functions, and schemas without one."""
        return tuple(self._names)

    @property
    def schema_only(self) -> tuple[str, ...]:
        """The names of those that only an override of ``dispatch_tool`` can answer."""
        return tuple(name for name in self._names if name not in self._functions)

    def is_async(self, name: str) -> bool:
        """Whether a tool is a function that gives something to await."""
        function = self._functions.get(name)
        return function is not None and function.is_async

    def timeout(self, name: str) -> float | None:
        """A tool's own time limit in seconds, or None."""
        function = self._functions.get(name)
        return None if function is None else function.timeout

    def _add_schema(self, schema: dict[str, Any]) -> None:
        if schema["type"] == "function":
            name = schema["name"]
            if name in self._names:
                raise ConfigurationError(
                    f"two tools are named {name!r}: rename one, or mark the function with @tool(name='…')"
                )
            self._names.append(name)
        self._schemas.append(schema)


def _reshaped(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = copy.deepcopy(dict(tool))
    if not isinstance(schema.get("type"), str):
        raise ConfigurationError(
            f"the tool {tool!r} has no type: write {{'type': 'function', 'name': …, 'parameters': …}}, or a"
            " built-in tool such as {'type': 'web_search'}"
        )
    if schema["type"] != "function":
        return schema
    if "function" in schema:
        nested = schema["function"]
        if not isinstance(nested, dict):
            raise ConfigurationError(
                f"the tool {tool!r} has no schema under 'function':"
                " write {'type': 'function', 'function': {'name': …, 'parameters': …}}"
            )
        schema = {"type": "function", **nested}
    check_name(schema.get("name"), tool)
    schema.setdefault("parameters", {"type": "object", "properties": {}})
    # Left out, the server would rewrite the schema into strict mode.
    schema.setdefault("strict", False)
    return schema
