"""An application written for the Assistants API, of either colour, behind one blocking face.

Which methods of ``client.beta`` it calls is noted. A test says by `drives` which ones it is there for, and fails where
it did not call them; `test_contract_surface` compares all that is said so with what the installed SDK has.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import openai
import pytest

import assistantguard
from assistantguard import Policy
from assistantguard.events import Event
from assistantguard.sandbox import Sandbox, Scripted
from tests.support.world import World

__all__ = ["LOOKUP", "MODEL", "Application", "Gate", "application_for", "drives", "hearing", "text_of"]

F = TypeVar("F", bound=Callable[..., Any])
MODEL = "gpt-6-luna"
_LOOK = 0.005
LOOKUP: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Finds an order.",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
    },
}


def drives(*methods: str) -> Callable[[F], F]:
    """Say which methods below ``client.beta`` a test is there for: ``@drives("threads.runs.cancel")``."""

    def mark(test: F) -> F:
        vars(test)["drives"] = frozenset(methods)
        return test

    return mark


class Driven:
    """A client, or what is below it; a call of a method is waited for, and its name noted."""

    def __init__(self, target: Any, application: Application, path: tuple[str, ...] = ()) -> None:
        self._target = target
        self._application = application
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return Driven(getattr(self._target, name), self._application, (*self._path, name))

    def __call__(self, *args: Any, **params: Any) -> Any:
        self._application.driven.add(".".join(self._path))
        return self._application.wait(self._target(*args, **params))


class Application:
    """A drop-in client over a sandbox."""

    def __init__(self, world: World, sandbox: Sandbox, client: Any, url: str | None, events: list[Event]) -> None:
        self.world = world
        self.sandbox = sandbox
        self.client: Any = client
        """Of either colour, so without a type of its own."""
        self.events = events
        """What the guard beneath told."""
        self.driven: set[str] = set()
        self.beta: Any = Driven(client.beta, self)
        self._url = url

    def wait(self, result: Any) -> Any:
        """A value as it is, an awaitable run to its end."""
        return self.world.wait(result)

    def assistant(self, **params: Any) -> Any:
        return self.beta.assistants.create(**{"model": MODEL, "instructions": "Be kind.", **params})

    def thread(self, *texts: str, **params: Any) -> str:
        """The id of a new thread with these messages of a user."""
        messages = [{"role": "user", "content": text} for text in texts]
        thread_id: str = self.beta.threads.create(messages=messages, **params).id
        return thread_id

    def say(self, thread_id: str, text: str, **params: Any) -> Any:
        return self.beta.threads.messages.create(thread_id, role="user", content=text, **params)

    def run(self, thread_id: str, assistant: Any, **params: Any) -> Any:
        """A run, polled until it comes to rest."""
        return self.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant.id, **params)

    def turn(self, text: str, **params: Any) -> Any:
        """A run of a new assistant on a new thread that says `text`."""
        return self.run(self.thread(text), self.assistant(), **params)

    def texts(self, thread_id: str, **query: Any) -> list[tuple[str, str]]:
        """Role and text of all messages, oldest first."""
        page = self.beta.threads.messages.list(thread_id, **{"order": "asc", "limit": 100, **query})
        return [(message.role, text_of(message)) for message in page.data]

    def outputs(self, run: Any, output: str = "shipped") -> list[dict[str, str]]:
        """The same output for all calls that a run waits for."""
        calls = run.required_action.submit_tool_outputs.tool_calls
        return [{"tool_call_id": call.id, "output": output} for call in calls]

    def steps(self, run: Any, **query: Any) -> list[Any]:
        """The steps of a run, oldest first."""
        page = self.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, **{"order": "asc", **query})
        return list(page.data)

    def get(self, run: Any) -> Any:
        return self.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)

    def poll(self, run: Any) -> Any:
        return self.beta.threads.runs.poll(run.id, thread_id=run.thread_id)

    def read(self, stream: Any, until: Callable[[Any], bool] = lambda event: False) -> list[Any]:
        """The events of a stream, or of a stream manager; it is left where `until` is true of one."""
        events: list[Any] = []
        if not self.world.is_async:
            with stream as entered:
                for event in entered:
                    events.append(event)
                    if until(event):
                        break
            return events

        async def read() -> None:
            async with stream as entered:
                async for event in entered:
                    events.append(event)
                    if until(event):
                        break

        self.wait(read())
        return events

    def every(self, page: Any) -> list[Any]:
        """The objects of a page and of all that follow it, as the SDK finds them."""
        if not self.world.is_async:
            return list(page)

        async def read() -> list[Any]:
            return [one async for one in page]

        found: list[Any] = self.wait(read())
        return found

    def refusal(self, call: Callable[[], Any], kind: type[openai.APIStatusError] = openai.BadRequestError) -> str:
        """The message of the API error that a call raises."""
        with pytest.raises(kind) as raised:
            call()
        body: Any = raised.value.body
        assert body["type"] == "invalid_request_error"
        return str(body["message"])

    def until(self, holds: Callable[[], object], gives_up: float = 60.0) -> None:
        """Wait for something that a run brings about."""
        give_up_at = time.monotonic() + gives_up
        while not holds():
            assert time.monotonic() < give_up_at, f"it did not happen within {gives_up} seconds"
            if self.world.is_async:
                self.wait(asyncio.sleep(_LOOK))
            else:
                time.sleep(_LOOK)

    def requests(self) -> list[Mapping[str, Any]]:
        """The bodies of the requests for a response, oldest first."""
        return [one.body for one in self.sandbox.requests if one.endpoint == "POST /responses"]

    def other(self, **options: Any) -> Application:
        """The same database from another process, as good as."""
        assert self._url is not None
        other = application_for(self.world, self.sandbox, self._url, **options)
        other.driven = self.driven
        return other


def application_for(
    world: World,
    sandbox: Sandbox,
    url: str | None,
    policies: Sequence[Policy] | None = (),
    **options: Any,
) -> Application:
    """A drop-in client of the world's colour; no policy unless one is given."""
    events: list[Event] = []
    options.setdefault("sinks", [events.append])
    client: Any = world.client(sandbox)
    return Application(
        world, sandbox, assistantguard.drop_in(client, policies=policies, ledger=url, **options), url, events
    )


class Gate:
    """A model that answers once it is let; it says what it is told to, else what the script says.

    The sandbox must ask it in a thread: ``sandbox(gate, model_in_thread=True)``.
    """

    def __init__(self, *answers: Scripted) -> None:
        self.asked = threading.Event()
        self.open = threading.Event()
        self._answers = list(answers)

    def __call__(self, request: Any) -> Scripted:
        self.asked.set()
        assert self.open.wait(60), "the test did not open the gate"
        return self._answers.pop(0) if self._answers else "Done."


def text_of(message: Any) -> str:
    """All that a message says."""
    return "".join(block.text.value for block in message.content if block.type == "text")


def hearing(application: Application) -> tuple[Any, list[tuple[str, tuple[Any, ...]]]]:
    """An event handler of the application's colour, and what it hears: each hook's name and arguments."""
    heard: list[tuple[str, tuple[Any, ...]]] = []
    base: Any = openai.AsyncAssistantEventHandler if application.world.is_async else openai.AssistantEventHandler

    def hook(name: str) -> Any:
        def listen(self: Any, *args: Any) -> None:
            heard.append((name, args))

        async def listen_later(self: Any, *args: Any) -> None:
            heard.append((name, args))

        return listen_later if application.world.is_async else listen

    names = [name for name, _ in inspect.getmembers(base, inspect.isfunction) if name.startswith("on_")]
    return type("Handler", (base,), {name: hook(name) for name in names})(), heard
