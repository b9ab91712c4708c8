"""Which model answers a turn, as a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from assistantguard.errors import ConfigurationError
from assistantguard.model_limits import takes_effort
from assistantguard.policies.base import Decision

__all__ = ["Route"]

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Route(Decision):
    """Which model answers, and what it is asked with. For ``route``.

    Args:
        model: Its name; None leaves the model as it is.
        reasoning_effort: As in the Responses API, for this turn; None leaves the assistant's.
        service_tier: As in the Responses API, for this turn; None leaves the assistant's.
        reason: Why, for events; it must not quote the conversation.
        force: Whether the model is switched also where that costs more than it saves. See `ModelRouting`.
        keep: Whether the thread keeps the model for the turns to come.

    Raises:
        ConfigurationError: A value is unknown, or the model takes no reasoning effort.
    """

    strength: ClassVar[int] = 1
    verb: ClassVar[str] = "route"
    model: str | None
    reasoning_effort: str | None
    service_tier: str | None
    force: bool
    keep: bool

    def __init__(
        self,
        model: str | None = None,
        *,
        reasoning_effort: str | None = None,
        service_tier: str | None = None,
        reason: str = "",
        force: bool = False,
        keep: bool = True,
    ) -> None:
        if model is not None and (not isinstance(model, str) or not model.strip()):
            raise ConfigurationError(
                f"Route model is {model!r}: it must name a model, for example 'gpt-5-mini', or None"
            )
        _known("reasoning_effort", reasoning_effort, _EFFORTS)
        _known("service_tier", service_tier, _TIERS)
        if model is not None and reasoning_effort is not None and not takes_effort(model):
            raise ConfigurationError(
                f"Route reasoning_effort is {reasoning_effort!r}, and {model!r} takes none: leave it out"
            )
        for name, value in (
            ("reason", reason),
            ("model", model),
            ("reasoning_effort", reasoning_effort),
            ("service_tier", service_tier),
            ("force", force),
            ("keep", keep),
        ):
            object.__setattr__(self, name, value)


def _known(name: str, value: str | None, options: Sequence[str]) -> None:
    if value is not None and value not in options:
        raise ConfigurationError(
            f"Route {name} is {value!r}, it must be one of {', '.join(map(repr, options))}, or None for the assistant's"
        )
