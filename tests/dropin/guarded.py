"""The ways to make a call that `guard_calls` bounds, each driven to its end or left early, in either colour."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import assistantguard
from assistantguard import Policy
from assistantguard.events import Event
from assistantguard.sandbox import Answer, Sandbox
from tests.support.world import MODEL, World

__all__ = ["OUTPUT", "TEXT", "UNKNOWN", "WAYS", "Caller", "Way", "answering", "caller_for"]

UNKNOWN = "model-of-tomorrow"
TEXT = "Where is my order? It was sent on Monday, and nothing has come since."
OUTPUT = 64
"""The output tokens that each call asks for; the model writes as many."""
_ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
Open = Callable[[Any, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Way:
    """How a call is made."""

    open: Open
    """Begins it: a value, an awaitable of one, or a context manager."""
    dialect: str = "responses"
    background: bool = False


def _responses(client: Any, params: Mapping[str, Any]) -> Any:
    return client.responses.create(**params)


WAYS: dict[str, Way] = {
    "responses.create": Way(_responses),
    "responses.create(stream=True)": Way(lambda client, params: client.responses.create(**params, stream=True)),
    "responses.parse": Way(lambda client, params: client.responses.parse(**params)),
    "responses.stream": Way(lambda client, params: client.responses.stream(**params)),
    "responses.create(background=True)": Way(
        lambda client, params: client.responses.create(**params, background=True), background=True
    ),
    "responses.create(background=True, stream=True)": Way(
        lambda client, params: client.responses.create(**params, background=True, stream=True), background=True
    ),
    "chat.completions.create": Way(lambda client, params: client.chat.completions.create(**params), "chat"),
    "chat.completions.create(stream=True)": Way(
        lambda client, params: client.chat.completions.create(**params, stream=True), "chat"
    ),
    "chat.completions.parse": Way(lambda client, params: client.chat.completions.parse(**params), "chat"),
    "chat.completions.stream": Way(lambda client, params: client.chat.completions.stream(**params), "chat"),
    "completions.create": Way(lambda client, params: client.completions.create(**params), "completions"),
    "completions.create(stream=True)": Way(
        lambda client, params: client.completions.create(**params, stream=True), "completions"
    ),
    "with_raw_response": Way(lambda client, params: client.responses.with_raw_response.create(**params)),
    "with_streaming_response": Way(
        lambda client, params: client.chat.completions.with_streaming_response.create(**params), "chat"
    ),
    "with_options": Way(lambda client, params: client.with_options(timeout=60.0).responses.create(**params)),
    "copy": Way(lambda client, params: client.copy(default_headers={"x-a": "b"}).responses.create(**params)),
    "post": Way(lambda client, params: client.post("/responses", body=dict(params), cast_to=object)),
}


class Caller:
    """A guarded client over a sandbox, and the ways to call it."""

    def __init__(self, world: World, sandbox: Sandbox, client: Any, events: list[Event]) -> None:
        self.world = world
        self.sandbox = sandbox
        self.client = client
        self.events = events

    @property
    def billed(self) -> int:
        """The tokens that the server has billed, once nothing is made any more."""
        give_up_at = time.monotonic() + 30
        while any(call.status == "in_progress" for call in self.sandbox.billing.calls):
            assert time.monotonic() < give_up_at, "something is still being made"
            time.sleep(0.005)
        return self.sandbox.billing.totals.total_tokens

    def call(self, way: str, model: str = MODEL, *, leaves: bool = False) -> Any:
        """Make a call and read it to its end, or leave it at its first piece; an awaitable where that is its colour."""
        chosen = WAYS[way]
        opened: Callable[[], Any] = lambda: chosen.open(self.client, params_of(chosen, model))  # noqa: E731
        if self.world.is_async:
            return self._call_async(opened, chosen, leaves=leaves)
        with contextlib.ExitStack() as stack:
            answer = opened()
            if hasattr(answer, "__enter__"):
                answer = stack.enter_context(answer)
            return self._read(answer, chosen, leaves=leaves)

    def _read(self, answer: Any, way: Way, *, leaves: bool) -> Any:
        last = None
        for piece in _pieces(answer):
            last = piece
            if leaves:
                break
        found = answer if last is None else last
        if way.background and not leaves:
            found = getattr(found, "response", found)
            while found.status not in _ENDED:
                found = self.client.responses.retrieve(found.id)
        return found

    async def _call_async(self, opened: Callable[[], Any], way: Way, *, leaves: bool) -> Any:
        async with contextlib.AsyncExitStack() as stack:
            answer = opened()
            if inspect.isawaitable(answer):
                answer = await answer
            if hasattr(answer, "__aenter__"):
                answer = await stack.enter_async_context(answer)
            last = None
            pieces = answer.iter_bytes() if hasattr(answer, "iter_bytes") else answer
            if hasattr(pieces, "__aiter__"):
                async for piece in pieces:
                    last = piece
                    if leaves:
                        break
            found = answer if last is None else last
            if way.background and not leaves:
                found = getattr(found, "response", found)
                while found.status not in _ENDED:
                    found = await self.client.responses.retrieve(found.id)
            return found

    def try_call(self, way: str, model: str = MODEL, *, leaves: bool = False) -> Any:
        """What a call gives, or the error that it raises."""
        try:
            return self.world.wait(self.call(way, model, leaves=leaves))
        except Exception as error:  # noqa: BLE001 - it stands for a loop that swallows errors
            return error


def _pieces(answer: Any) -> Iterator[Any]:
    if hasattr(answer, "iter_bytes"):
        yield from answer.iter_bytes()
    elif hasattr(answer, "__next__"):
        yield from answer


def params_of(way: Way, model: str) -> dict[str, Any]:
    if way.dialect == "chat":
        return {"model": model, "messages": [{"role": "user", "content": TEXT}], "max_completion_tokens": OUTPUT}
    if way.dialect == "completions":
        return {"model": model, "prompt": TEXT, "max_tokens": OUTPUT}
    return {"model": model, "input": TEXT, "max_output_tokens": OUTPUT}


def answering(**options: Any) -> Callable[[Any], Answer]:
    """A model that always says more than it is asked for."""
    return lambda _: Answer(text="and on " * 100, **options)


def caller_for(world: World, sandbox: Sandbox, policies: Sequence[Policy], **options: Any) -> Caller:
    """A guarded client of the world's colour."""
    events: list[Event] = []
    client: Any = world.client(sandbox, max_retries=options.pop("max_retries", 0))
    guarded = assistantguard.drop_in(client, policies=policies, guard_calls=True, sinks=[events.append], **options)
    return Caller(world, sandbox, guarded, events)
