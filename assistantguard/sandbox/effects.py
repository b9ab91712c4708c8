"""What a fault does to a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.script import Answer
from assistantguard.sandbox.stores import Embedding

__all__ = [
    "ADD_ITEMS",
    "CANCEL",
    "RESPONSES",
    "Change",
    "Cut",
    "Effect",
    "Embed",
    "Ending",
    "Expire",
    "Lost",
    "Refusal",
    "Slow",
    "Tamper",
    "Traits",
]

RESPONSES = "POST /responses"
CANCEL = "POST /responses/{id}/cancel"
ADD_ITEMS = "POST /conversations/{id}/items"
_EMBEDDING = {"POST /vector_stores", "POST /vector_stores/{id}/files", "POST /vector_stores/{id}/file_batches"}
_LOCKING = {RESPONSES, ADD_ITEMS, "DELETE /conversations/{id}/items/{item_id}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a fault asks of a request to happen to it."""

    endpoint: str
    streamed: bool = False
    background: bool = False
    conversation: str | None = None
    """Id of the conversation it names."""
    stores: tuple[str, ...] = ()
    """Ids of the vector stores it names."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error before any work. Nothing is billed and nothing is stored."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def suits(self, traits: Traits) -> bool:  # noqa: ARG002 - one shape for all effects
        """Whether it can happen to a request: to all."""
        return True


@dataclass(frozen=True, slots=True)
class Lost:
    """A request whose answer never comes."""

    after_work: bool = False
    """Whether the work is done, billed and kept."""
    silent: bool = False
    """Nothing is sent until the client leaves; otherwise the connection is closed at once."""

    def suits(self, traits: Traits) -> bool:  # noqa: ARG002 - one shape for all effects
        """Whether it can happen to a request: to all."""
        return True


@dataclass(frozen=True, slots=True)
class Slow:
    """A request that is answered late. The delay of a response is the model's: see `Answer.delay`."""

    seconds: float

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ConfigurationError(f"seconds={self.seconds} is below 0")

    def __call__(self, answer: Answer) -> Answer:
        """Return an answer that is as much later."""
        return replace(answer, delay=answer.delay + self.seconds)

    def suits(self, traits: Traits) -> bool:  # noqa: ARG002 - one shape for all effects
        """Whether it can happen to a request: to all."""
        return True


@dataclass(frozen=True, slots=True)
class Ending:
    """A response (HTTP 200) that ends with this answer in the place of the script's."""

    answer: Answer

    def suits(self, traits: Traits) -> bool:
        """Whether it can happen to a request: where a response is made."""
        return traits.endpoint == RESPONSES


@dataclass(frozen=True, slots=True)
class Change:
    """The script's answer, made or reported in another way."""

    answer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Answer`."""
    conduct: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Conduct`."""
    only: Literal["background", "foreground", "streamed"] | None = None

    def __post_init__(self) -> None:
        self(Answer())  # what cannot be is told at once

    def __call__(self, answer: Answer) -> Answer:
        """Return the changed answer."""
        return replace(answer, **self.answer, conduct=replace(answer.conduct, **self.conduct))

    def suits(self, traits: Traits) -> bool:
        """Whether it can happen to a request: where a response is made in the way it is for."""
        kinds = {None: True, "background": traits.background, "foreground": not traits.background}
        return traits.endpoint == RESPONSES and kinds.get(self.only, traits.streamed)


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream that goes wrong after some events, at the latest before its last but one.

    With ``how="drop"`` the connection is closed, with ``"end"`` the body ends as if it were whole; ``"malformed"``
    puts a chunk that is no JSON between two events; ``"error"`` and ``"nested_error"`` send an error event and end;
    ``"failed"`` ends the response with ``response.failed``.
    """

    after: int
    how: Literal["drop", "end", "malformed", "error", "nested_error", "failed"]
    goes_on: bool = False
    """Whether the work goes on without its reader. It always does in the background."""
    code: str = "server_error"
    message: str = "The server had an error while processing your request. (sandbox)"
    usage_reported: bool = True

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ConfigurationError(f"after={self.after} is below 0")

    def suits(self, traits: Traits) -> bool:
        """Whether it can happen to a request: to a stream."""
        return traits.streamed and not (self.how == "failed" and (traits.background or traits.endpoint != RESPONSES))


@dataclass(frozen=True, slots=True)
class Tamper:
    """What someone else does to a conversation just before the request is looked at."""

    how: Literal["lock", "delete", "open_call"]
    seconds: float = 0.0
    """How long it is locked."""

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ConfigurationError(f"seconds={self.seconds} is below 0")

    def suits(self, traits: Traits) -> bool:
        """Whether it can happen to a request: where it names a conversation; a lock stops what changes one."""
        return traits.conversation is not None and (self.how != "lock" or traits.endpoint in _LOCKING)


@dataclass(frozen=True, slots=True)
class Expire:
    """Vector stores that have expired when the request uses them; a new one expires as soon as it is made."""

    def suits(self, traits: Traits) -> bool:
        """Whether it can happen to a request: where it names or makes a vector store."""
        return bool(traits.stores) or traits.endpoint == "POST /vector_stores"


@dataclass(frozen=True, slots=True)
class Embed:
    """The request's files are embedded in another way than the sandbox's."""

    embedding: Embedding

    def suits(self, traits: Traits) -> bool:
        """Whether it can happen to a request: where it puts files into a vector store."""
        return traits.endpoint in _EMBEDDING


Effect: TypeAlias = Refusal | Lost | Slow | Ending | Change | Cut | Tamper | Expire | Embed
