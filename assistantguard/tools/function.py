"""A Python function as a tool."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard.tools.signature import Arguments

__all__ = ["FunctionTool", "check_name", "tool"]

_F = TypeVar("_F", bound=Callable[..., Any])

_NAME = r"[a-zA-Z0-9_-]{1,64}"
_OVERRIDES = "__assistantguard_tool__"


class _Overrides:
    __slots__ = ("description", "name", "timeout")

    def __init__(self, name: str | None = None, description: str | None = None, timeout: float | None = None) -> None:
        self.name = name
        self.description = description
        self.timeout = timeout


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class FunctionTool(Value):
    """A function that the model may call. Calling the tool calls the function.

    The name is the function's, the description its docstring's, and the parameters' JSON schema comes from the
    signature: annotations, defaults, ``Annotated[…, Field(description=…)]``, and the docstring's section on
    arguments. Functions, bound methods, ``functools.partial`` and callable objects work, sync and async.

    Args:
        function: The function.
        name: Another name than the function's.
        description: Another description than the docstring's.
        timeout: Seconds that one call may take; None leaves it to the guard.

    Raises:
        ConfigurationError: The function cannot be a tool; the message names the parameter and the mend.
    """

    function: Callable[..., Any]
    name: str
    description: str
    """Empty where there is none."""
    timeout: float | None
    """Seconds, or None."""
    is_async: bool
    """Whether a call gives something to await."""
    strict: bool
    """Whether the API's strict mode takes the schema. It wants every parameter to be required."""
    _arguments: Arguments

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> None:
        from assistantguard.tools.signature import arguments_of, documentation_of
        from assistantguard.tools.strict import allows_strict

        _check_callable(function)
        marked = _marked(function)
        own_name = check_name(name or marked.name or _name_of(function), function)
        documentation = documentation_of(function)
        arguments = arguments_of(function, own_name, documentation.parameters or {})
        limit = timeout if timeout is not None else marked.timeout
        text = description if description is not None else marked.description
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "name", own_name)
        object.__setattr__(self, "description", documentation.text if text is None else text)
        object.__setattr__(self, "timeout", _check_timeout(own_name, limit))
        object.__setattr__(self, "is_async", _is_async(function))
        object.__setattr__(self, "strict", allows_strict(arguments.schema))
        object.__setattr__(self, "_arguments", arguments)

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments. Not a copy: do not change it."""
        return self._arguments.schema

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as the Responses API takes it."""
        schema: dict[str, Any] = {"type": "function", "name": self.name}
        if self.description:
            schema["description"] = self.description
        return {**schema, "parameters": self.parameters, "strict": self.strict}

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Turn decoded JSON into keyword arguments for the function.

        Raises:
            pydantic.ValidationError: They do not fit.
            ValueError: A text among them is not valid Unicode.
        """
        return self._arguments.validate(arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it is."""
        return self.function(*args, **kwargs)


@overload
def tool(function: _F, /) -> _F: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, timeout: float | None = None
) -> Callable[[_F], _F]: ...
def tool(
    function: _F | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
) -> _F | Callable[[_F], _F]:
    """Mark a function or method as a tool, with another name, description or time limit than it would have.

    The function itself stays as it is, so methods can be marked in the class and passed bound.

    Args:
        function: The function, where the decorator is used without parentheses.
        name: Another name than the function's.
        description: Another description than the docstring's.
        timeout: Seconds that one call may take; None leaves it to the guard.
    """

    def mark(function: _F) -> _F:
        setattr(function, _OVERRIDES, _Overrides(name, description, timeout))
        return function

    return mark if function is None else mark(function)


def check_name(name: object, owner: object) -> str:
    """Return a tool's name if the API takes it.

    Raises:
        ConfigurationError: It does not.
    """
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise ConfigurationError(
            f"the name of the tool {owner!r} is {name!r}: the API takes 1 to 64 letters, digits, '_' and '-';"
            " rename it, or mark the function with @tool(name='…')"
        )
    return name


def _check_callable(function: object) -> None:
    if isinstance(function, type):
        raise ConfigurationError(
            f"the tool {function.__name__!r} is a class: pass a function, or an instance that can be called"
        )
    if not callable(function):
        raise ConfigurationError(f"the tool {function!r} cannot be called: pass a function")


def _check_timeout(name: str, timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ConfigurationError(
            f"the timeout of the tool {name!r} is {timeout!r}: it must be seconds above 0, or left out"
        )
    return float(timeout)


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _marked(function: Callable[..., Any]) -> _Overrides:
    marked = getattr(_unwrapped(function), _OVERRIDES, None)
    return marked if isinstance(marked, _Overrides) else _Overrides()


def _name_of(function: Callable[..., Any]) -> str:
    inner = _unwrapped(function)
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name


def _is_async(function: Callable[..., Any]) -> bool:
    inner = _unwrapped(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)
