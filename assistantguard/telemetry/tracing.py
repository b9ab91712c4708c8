"""What a sink offers that also traces: spans that are the current ones where requests are made and tools run.

Events tell what has happened; a span must exist before the work that belongs to it begins. So the engine tells such a
sink, beside its events, when a turn begins and ends, and does each request and each tool call inside of what the sink
hands out. Without such a sink nothing of this is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.models import Assistant, RunState, ThreadState, ToolCall

__all__ = ["Around", "ModelCall", "Tracing", "only_one"]

Around = Callable[[Sequence["ToolCall"]], AbstractContextManager[object]]
"""What tool calls are answered inside of: entered and left in the thread or task that answers them."""


class ModelCall(Protocol):
    """What is told of a request to a model: its settings, not its content."""

    @property
    def model(self) -> str:
        """The model that is asked."""
        ...

    @property
    def assistant(self) -> Assistant | None:
        """Whose settings it carries; None carries none (a summary)."""
        ...

    @property
    def generation_id(self) -> str | None:
        """The server's conversation; None for a call that stands alone."""
        ...

    @property
    def max_output_tokens(self) -> int | None:
        """The bound on its output."""
        ...

    @property
    def reasoning_effort(self) -> str | None:
        """As it is asked for."""
        ...

    @property
    def service_tier(self) -> str | None:
        """As it is asked for."""
        ...


@runtime_checkable
class Tracing(Protocol):
    """Keeps spans. Its methods may be called from several threads, and must neither block nor raise."""

    @property
    def propagates(self) -> bool:
        """Whether requests to the server shall carry `headers`."""
        ...

    def begin(self, session_id: str, thread: ThreadState, run: RunState, agent: str | None) -> None:
        """A turn begins, in the caller's own thread or task.

        Args:
            session_id: As events tell it.
            thread: Whose turn it is.
            run: The run that answers it; its id is what everything later is told by.
            agent: The assistant's name.
        """
        ...

    def end(self, run: RunState, error: BaseException | None) -> None:
        """A turn is over, or goes on in a later call; `error` ended it. Nothing of it stays open."""
        ...

    def request(self, run: RunState, request: ModelCall, *, streamed: bool) -> AbstractContextManager[object]:
        """What the request is sent inside of. It is over when ``request.settled`` tells it."""
        ...

    def tools(self, run: RunState) -> Around:
        """What the tool calls of a run are answered inside of. Each is over when ``tool.settled`` tells it."""
        ...

    def headers(self) -> Mapping[str, str]:
        """The headers by which a server takes the current trace up; empty where there is none."""
        ...


def only_one(sinks: Sequence[object]) -> Tracing | None:
    """The sink among these that traces; None where there is none.

    Raises:
        ConfigurationError: There is more than one: only one span can be the current one.
    """
    found = [sink for sink in sinks if isinstance(sink, Tracing)]
    if len(found) > 1:
        raise ConfigurationError(
            f"sinks has {len(found)} that trace ({', '.join(type(sink).__name__ for sink in found)}), and one span is"
            " the current one: give one, and add exporters to its provider"
        )
    return found[0] if found else None
