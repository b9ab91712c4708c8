"""The assistant: model, instructions and tools, as every request carries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

__all__ = ["MIN_OUTPUT_TOKENS", "Assistant"]

MIN_OUTPUT_TOKENS = 16
"""The least `max_output_tokens` that the Responses API accepts."""

_MAX_TOOLS = 128
_MAX_INSTRUCTIONS = 256_000


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Assistant(Value):
    """What answers. Immutable; share one among as many guards as you like.

    Args:
        model: An OpenAI model name.
        instructions: The system prompt, sent with every request (it is not part of the conversation).
        tools: Python functions (schema from signature and docstring), function schemas as dictionaries
            (flat as in Responses, or nested as in Chat Completions and Assistants), or built-in tools such as
            ``{"type": "web_search"}``.
        name: A name for telemetry.
        max_output_tokens: The most one model call may write, reasoning included. None leaves it to the model
            unless a cap is on; then a request asks for at most 32,768.
        temperature: 0 to 2; None leaves it to the model.
        top_p: 0 to 1; None leaves it to the model.
        reasoning_effort: For reasoning models (``"low"``, ``"medium"``, …).
        response_format: The ``text.format`` object of the Responses API, for example a JSON schema.
        tool_choice: As in the Responses API; None means ``auto``.
        parallel_tool_calls: None leaves it to the server (which allows them).
        service_tier: As in the Responses API; prices follow what the server says it used.
        metadata: Sent with every response, at most 16 pairs.
        extra_body: Further request fields, sent as they are.

    Raises:
        ConfigurationError: A value is outside what the API accepts.
    """

    model: str
    instructions: str = ""
    tools: Sequence[Callable[..., Any] | Mapping[str, Any]] = ()
    name: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning_effort: str | None = None
    response_format: Mapping[str, Any] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    service_tier: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise ConfigurationError(f"model is {self.model!r}: it must name a model, for example 'gpt-6-luna'")
        if len(self.instructions) > _MAX_INSTRUCTIONS:
            raise ConfigurationError(
                f"instructions have {len(self.instructions):,} characters, the limit is {_MAX_INSTRUCTIONS:,}:"
                " move reference text into files and attach them"
            )
        if isinstance(self.tools, (str, bytes, Mapping)) or callable(self.tools):
            raise ConfigurationError(f"tools is {self.tools!r}: it must be a list, for example tools=[lookup]")
        if len(self.tools) > _MAX_TOOLS:
            raise ConfigurationError(
                f"there are {len(self.tools)} tools, the limit is {_MAX_TOOLS}: split the assistant in two"
            )
        if self.max_output_tokens is not None and self.max_output_tokens < MIN_OUTPUT_TOKENS:
            raise ConfigurationError(
                f"max_output_tokens is {self.max_output_tokens}, the API's minimum is {MIN_OUTPUT_TOKENS}:"
                " raise it, or leave it out"
            )
        _within("temperature", self.temperature, 0, 2)
        _within("top_p", self.top_p, 0, 1)
        _check_metadata(self.metadata)


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}, it must lie between {low} and {high}: change it or leave it out")


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > 16:
        raise ConfigurationError(
            f"metadata has {len(metadata)} pairs, the limit is 16: keep the rest in your own store"
        )
    for key, value in metadata.items():
        if len(key) > 64 or len(value) > 512:
            raise ConfigurationError(
                f"metadata {key[:64]!r} has a key of {len(key)} and a value of {len(value)} characters,"
                " the limits are 64 and 512: shorten it"
            )
