"""One combination on stage: a sandbox, a guard of the right colour, and turns in the right way."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import tenacity

from assistantguard import AssistantGuardError, Reply, ToolStepCeiling, TransientRetry
from assistantguard.events import Event
from assistantguard.models import StreamEvent
from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox
from tests.matrix.shape import Combination
from tests.support.models import Lookups
from tests.support.world import Bot, World

__all__ = ["ATTEMPTS", "CLEANUP_TIMEOUT", "RUN_TIMEOUT", "Ending", "Scene", "desk", "retrying"]

ATTEMPTS = 3
RUN_TIMEOUT = 60.0
CLEANUP_TIMEOUT = 6.0
_QUIET = 30.0
"""Seconds that the sandbox may take to end what nobody waits for."""


def retrying() -> TransientRetry:
    """Retries without a wait."""
    return TransientRetry(ATTEMPTS, wait=tenacity.wait_none())


def desk(request: ModelRequest) -> str | FunctionCall:
    """Look up the orders that the user asks for, one after another, then answer. It keeps no state."""
    asked = re.findall(r"order (\w+)", request.last_user_text)
    answered = 0
    for item in reversed(request.items):
        if item["type"] == "message" and item.get("role") == "user":
            break
        answered += item["type"] == "function_call_output"
    if answered < len(asked) and request.may_call_tools:
        return FunctionCall("lookup", {"order": asked[answered]})
    return f"Done: {request.last_user_text}"


class Ending:
    """What a call ended in, and how long it took."""

    def __init__(self, name: str, reply: Reply | None, seconds: float, error: BaseException | None) -> None:
        self.name = name
        self.reply = reply
        self.seconds = seconds
        self.error = error


class Scene:
    """The stage of a combination."""

    def __init__(self, world: World, combination: Combination) -> None:
        row, transition, way = combination.row, combination.transition, combination.way
        self.world = world
        self.combination = combination
        self.way = way
        self.lookups = Lookups()
        self.sandbox: Sandbox = world.sandbox(desk, **{**transition.sandbox, **row.sandbox})
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] | None = None
        """Called with every event of the guard, in its midst."""
        self.in_tool: Callable[[], None] | None = None
        """Called in the midst of a tool."""
        self.struck = False
        """Whether someone has walked away."""
        options = {"policies": [retrying(), ToolStepCeiling(4)], **transition.options(), **row.options}
        self.client: Any = world.client(self.sandbox)
        self.bot: Bot = world.bot(
            self.sandbox,
            options.pop("policies"),
            tools=[self.lookup],
            client=self.client,
            run_timeout=options.pop("run_timeout", RUN_TIMEOUT),
            cleanup_timeout=CLEANUP_TIMEOUT,
            background=way.background,
            sinks=[self._noted],
            **options,
        )
        self.bot.events = self.events
        self.told: list[StreamEvent] = []
        """What the last streamed turn told."""
        self.asked = ""
        """The last message."""

    def lookup(self, order: str) -> str:
        """Find an order."""
        found = self.lookups.lookup(order)
        if self.in_tool is not None:
            self.in_tool()
        return found

    def _noted(self, event: Event) -> None:
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    def turn(self, message: str, deadline: float | None = None) -> Reply:
        """One turn in the combination's way."""
        self.told, self.asked = [], message
        if self.way.is_async:
            reply = self.world.wait(self.turning(message, deadline))
        elif not self.way.streamed:
            reply = self.bot.guard.chat(message, deadline=deadline)
        else:
            with self.bot.guard.stream(message, deadline=deadline) as stream:
                self.told.extend(stream)
            reply = stream.reply
        assert isinstance(reply, Reply)
        return reply

    async def turning(self, message: str, deadline: float | None = None) -> Reply:
        """One turn of the asyncio guard."""
        self.told, self.asked = [], message
        if not self.way.streamed:
            reply = await self.bot.guard.chat(message, deadline=deadline)
        else:
            async with self.bot.guard.stream(message, deadline=deadline) as stream:
                async for event in stream:
                    self.told.append(event)
            reply = stream.reply
        assert isinstance(reply, Reply)
        return reply

    def ending_of(self, call: Any) -> Ending:
        """Make a call and say what it ended in: a reply, a name that the call gives itself, or an error's class."""
        began = time.monotonic()
        reply: Reply | None = None
        error: BaseException | None = None
        try:
            result = call()
        except (AssistantGuardError, KeyboardInterrupt, SystemExit, asyncio.CancelledError) as raised:
            error, name = raised, type(raised).__name__
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is no named error
            error, name = raised, f"unnamed {type(raised).__module__}.{type(raised).__name__}"
        else:
            if isinstance(result, Reply):
                reply, name = result, "Reply" if result.complete else "Reply, incomplete"
            else:
                name = result if isinstance(result, str) else "Reply"
        return Ending(name, reply, time.monotonic() - began, error)

    def quiet(self) -> bool:
        """Wait until the sandbox makes nothing any more; whether that came."""
        active = self.sandbox._application._responses._active
        until = time.monotonic() + _QUIET
        while active and time.monotonic() < until:
            time.sleep(0.005)
        return not active

    @property
    def account(self) -> str:
        """The session's account on the books."""
        return f"session:{self.bot.guard._core.session.id}"

    @property
    def conversation(self) -> list[dict[str, Any]] | None:
        """The items of the thread's conversation; None where there is none."""
        generation = self.bot.default.state.generation_id
        if generation is None or generation not in self.sandbox.conversations:
            return None
        return self.sandbox.conversation(generation)
