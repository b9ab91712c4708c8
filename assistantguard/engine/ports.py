"""What the engine asks of the outside world: a driver (clock, waiting, tools) and a backend (the server).

Both are written as coroutines. The asyncio driver really awaits; the blocking one never suspends.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from assistantguard.models.stream import StreamEvent
from assistantguard.models.values import Record, Value

if TYPE_CHECKING:
    from assistantguard.models import (
        Assistant,
        Failure,
        Item,
        RunState,
        RunStatus,
        ThreadState,
        ToolCall,
        ToolOutput,
        Usage,
    )
    from assistantguard.models.rates import RatesTold
    from assistantguard.telemetry.tracing import Around

__all__ = [
    "AnswerStream",
    "AnswerTaken",
    "Backend",
    "Driver",
    "GenerationFate",
    "ModelAnswer",
    "ModelRequest",
    "NoStates",
    "Piece",
    "States",
    "VectorStoreInfo",
]

T = TypeVar("T")
GenerationFate = Literal["begun", "kept", "deleted"]


@dataclass(slots=True, eq=False, repr=False)
class ModelRequest(Record):
    """One paid model call."""

    model: str
    assistant: Assistant | None
    """Whose settings it carries; None carries none (a summary)."""
    instructions: str
    input: list[dict[str, Any]]
    """Response input items."""
    generation_id: str | None = None
    """The conversation it belongs to; None for a call that stands alone."""
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    cache_key: str | None = None
    client_request_id: str = ""
    """Sent as ``X-Client-Request-Id``, so that a lost call can be found in the server's logs."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    background: bool = False
    """Whether the server shall work on it in the background, where it can be cancelled."""
    wants_rates: bool = False
    """Whether the answer shall bring what the server told of its rate limits."""
    reasoning_effort: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModelAnswer(Value):
    """What came of a paid model call that the server answered."""

    id: str
    status: RunStatus
    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage | None
    """None where the server did not report it."""
    model: str
    failure: Failure | None = None
    """Set where `status` is ``failed``."""
    incomplete_reason: str | None = None
    service_tier: str | None = None
    request_id: str | None = None
    builtin_calls: Mapping[str, int] = field(default_factory=dict)
    """Calls of built-in tools that the server made, by the name the price book knows."""
    output_items: int = 1
    """How many items the answer adds to the conversation."""
    last_item_id: str | None = None
    """The id of the newest of them."""
    hidden_output: bool = False
    """Whether it wrote more than its text and calls show, such as reasoning."""
    output: Sequence[Any] = ()
    """The items as the server sent them, for those who show them."""
    rates: RatesTold | None = None
    """What the server told of its rate limits, where it was asked for that."""


@dataclass(slots=True, eq=False, repr=False)
class AnswerTaken(StreamEvent):
    """An answer of the model was accepted: what it said and asked for counts."""

    answer: ModelAnswer


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Piece(Value):
    """A piece of output, as it arrives."""

    text: str
    shown: bool
    """Whether it is text of the answer; else arguments of a call, or reasoning."""


class AnswerStream(Protocol):
    """A model call whose output arrives in pieces."""

    @property
    def response_id(self) -> str | None:
        """The server's id of the answer, once it told it."""
        ...

    @property
    def sequence_number(self) -> int | None:
        """The number of the newest event, where the server numbers them."""
        ...

    async def next(self) -> Piece | ModelAnswer:
        """The next piece, or the whole answer at its end. Raises where the stream ends without one."""
        ...

    async def close(self) -> None:
        """Close the connection; a server that is not done ends the work. May be called at any time, and again."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class VectorStoreInfo(Value):
    """A vector store's state."""

    id: str
    status: str
    in_progress: int
    completed: int
    failed: int
    """Files that failed or were cancelled."""
    usage_bytes: int | None
    expires_at: float | None


class States(Protocol):
    """Where threads and runs are kept, so that another process can go on with them. Blocking, as ledgers are."""

    @property
    def in_process(self) -> bool:
        """Whether calls return at once, and nothing outlives the process."""
        ...

    def together(self) -> AbstractContextManager[object]:
        """Make what happens inside, here and in the ledger, one transaction where both are in one database."""
        ...

    def save(self, thread: ThreadState, run: RunState | None, *, last: bool = False) -> None:
        """Keep a thread and the run that it has under way. `last` says that others may have the thread now.

        Raises:
            LeaseLost: Another process drives the thread by now.
        """
        ...

    def overdue(self, thread: ThreadState) -> bool:
        """Whether others may have the thread, since nothing was heard of this process for too long. Does no I/O."""
        ...

    def confirm(self, thread: ThreadState, run: RunState | None) -> None:
        """Make sure that an overdue thread is still driven here.

        Raises:
            LeaseLost: Another process drives the thread by now.
        """
        ...

    def note_generation(self, thread: ThreadState, generation_id: str, became: GenerationFate) -> None:
        """Note that a conversation was begun for a thread, was left and kept on purpose, or deleted at the server."""
        ...

    def note_vector_store(self, file_ids: Sequence[str], vector_store_id: str, expires_at: float | None) -> None:
        """Note a vector store that was made or taken into use for a set of files."""
        ...

    def known_vector_store(self, file_ids: Sequence[str]) -> str | None:
        """The id of the vector store that was made for these files; None where none is known."""
        ...

    def forget_vector_store(self, vector_store_id: str) -> None:
        """Note that a vector store cannot be used any more."""
        ...


class NoStates:
    """`States` of a guard whose threads live and end with the process: there is nothing to do."""

    in_process = True

    def together(self) -> AbstractContextManager[None]:
        """See `States.together`."""
        return nullcontext()

    def save(self, thread: ThreadState, run: RunState | None, *, last: bool = False) -> None:
        """See `States.save`."""

    def overdue(self, thread: ThreadState) -> bool:  # noqa: ARG002 - nobody else can have it
        """See `States.overdue`."""
        return False

    def confirm(self, thread: ThreadState, run: RunState | None) -> None:
        """See `States.confirm`."""

    def note_generation(self, thread: ThreadState, generation_id: str, became: GenerationFate) -> None:
        """See `States.note_generation`."""

    def note_vector_store(self, file_ids: Sequence[str], vector_store_id: str, expires_at: float | None) -> None:
        """See `States.note_vector_store`."""

    def known_vector_store(self, file_ids: Sequence[str]) -> str | None:
        """See `States.known_vector_store`."""

    def forget_vector_store(self, vector_store_id: str) -> None:
        """See `States.forget_vector_store`."""


class Driver(Protocol):
    """Time, waiting and tools, in one colour."""

    def now(self) -> float:
        """Unix time, seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def blocking(self, work: Callable[[], T], *, at_once: bool) -> T:
        """Do blocking work; `at_once` says that it returns without waiting."""
        ...

    async def protect(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end whatever cancels the caller; the cancellation follows when it is done."""
        ...

    def exclusive(self, key: str) -> AbstractAsyncContextManager[None]:
        """Hold off everyone else who asks for the same `key`; they get it in the order they came."""
        ...

    async def call_tools(
        self, calls: Sequence[ToolCall], deadline: float | None, around: Around | None = None
    ) -> list[ToolOutput]:
        """Answer every call, failed ones with an output that says so. Never raises for a tool's own error.

        Args:
            calls: The calls of a step.
            deadline: Unix time until which they may take.
            around: What each is answered inside of.
        """
        ...


class Backend(Protocol):
    """A server that holds threads and runs models. Every method may raise; `classify` sorts what it raised."""

    def classify(self, error: Exception) -> Failure | None:
        """Sort an error that a method raised; None where it is not the server's."""
        ...

    async def create_generation(self, items: Sequence[Item], metadata: Mapping[str, str], timeout: float) -> str:
        """Make a new conversation that holds `items`; return its id."""
        ...

    async def delete_generation(self, generation_id: str, *, scrub: bool, timeout: float) -> None:
        """Delete a conversation, its items too if `scrub`."""
        ...

    async def history(self, generation_id: str, timeout: float, *, limit: int | None = None) -> list[Item]:
        """A conversation's items, newest first; at most `limit`."""
        ...

    async def add_outputs(self, generation_id: str, outputs: Sequence[ToolOutput], timeout: float) -> str | None:
        """Append tool outputs to a conversation without a model call; return the last one's id, where told."""
        ...

    async def add_messages(self, generation_id: str, items: Sequence[Mapping[str, Any]], timeout: float) -> str | None:
        """Append messages (input items) to a conversation, without a model call; return the last one's id if told."""
        ...

    async def delete_items(self, generation_id: str, item_ids: Sequence[str], timeout: float) -> None:
        """Delete items of a conversation, in the order given."""
        ...

    async def respond(self, request: ModelRequest, timeout: float) -> ModelAnswer:
        """Make one paid model call and wait for its end; one in the background comes back ``queued``."""
        ...

    async def stream(self, request: ModelRequest, timeout: float) -> AnswerStream:
        """Make one paid model call whose output arrives in pieces, all of them within `timeout` seconds."""
        ...

    async def resume(self, response_id: str, sequence_number: int, timeout: float) -> AnswerStream:
        """Take up the stream of an answer that is made in the background, after the event of that number."""
        ...

    async def look_up(self, response_id: str, timeout: float) -> ModelAnswer:
        """An answer as the server knows it now."""
        ...

    async def cancel(self, response_id: str, timeout: float) -> ModelAnswer:
        """Cancel an answer that is made in the background; return it as it is then."""
        ...

    def refuses_background(self, failure: Failure) -> bool:
        """Whether `failure` says that this server, or this account, has no background mode."""
        ...

    async def count_input(self, request: ModelRequest, timeout: float) -> int | None:
        """Exactly how many input tokens `request` would read; None where the server cannot tell."""
        ...

    async def find_vector_store(self, file_ids: Sequence[str], timeout: float) -> VectorStoreInfo | None:
        """A usable store that was made for exactly these files."""
        ...

    async def create_vector_store(
        self, file_ids: Sequence[str], expires_after_days: int, timeout: float
    ) -> VectorStoreInfo:
        """Begin a store of these files."""
        ...

    async def vector_store(self, vector_store_id: str, timeout: float) -> VectorStoreInfo:
        """A store's state now."""
        ...

    async def delete_vector_store(self, vector_store_id: str, timeout: float) -> None:
        """Delete a store; the files in it stay."""
        ...

    async def failed_files(self, vector_store_id: str, timeout: float) -> list[str]:
        """Ids of files that could not be embedded, each with the server's reason."""
        ...
