"""`serve`: the drop-in as a server of its own, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import openai
import uvicorn

from assistantguard._connections import AbortableProtocol, listening_socket
from assistantguard.dropin.connections import close_stuck
from assistantguard.dropin.opening import Opening
from assistantguard.dropin.serving import KEYS_VARIABLE, AssistantsApp, Keys, Limits, is_loopback
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp, Receive, Scope, Send

    from assistantguard.dropin.engines import Refusals
    from assistantguard.ledger import Ledger
    from assistantguard.policies import Policy
    from assistantguard.telemetry import Sink

__all__ = ["Stop", "serve"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Ends a server from elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = False
        self._end: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        """Ask the server to end. From any thread, before it began too, and more than once."""
        with self._lock:
            self._wanted = True
            self._end()

    def ends(self, end: Callable[[], None]) -> None:
        """Note what ends the server; it is called at once where that was asked for already."""
        with self._lock:
            self._end = end
            if self._wanted:
                end()


class _Server(uvicorn.Server):
    """Notes when its grace is over, and leaves signals to its owner."""

    def __init__(self, config: uvicorn.Config, grace: float) -> None:
        super().__init__(config)
        self._grace = grace
        self.over_at = 0.0
        """By the loop's clock."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.over_at = asyncio.get_running_loop().time() + self._grace
        await super().shutdown(sockets)


def serve(
    client: openai.AsyncOpenAI | None = None,
    *,
    keys: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    grace: int = 30,
    policies: Sequence[Policy] | None = None,
    ledger: Ledger | str | None = None,
    on_refusal: Refusals = "failed",
    sinks: Sequence[Sink] | None = None,
    events: str | os.PathLike[str] | None = None,
    stop: Stop | None = None,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serve ``/v1/assistants…`` and ``/v1/threads…`` over HTTP until Ctrl-C, SIGTERM, or `stop`.

    It ends in order: it takes no more requests, lets those that run, and the runs themselves, end for `grace` seconds,
    ends the others, and closes its books and its client.

    Args:
        client: Reaches the models; it is closed at the end. None makes one from the environment.
        keys: The server's own keys, one of which each request must have; none are needed on loopback.
        host: Where to listen: a name or an address.
        port: Port to listen on; 0 takes a free one.
        limits: What it takes upon itself.
        grace: Seconds.
        policies: As for `drop_in`.
        ledger: As for `drop_in`.
        on_refusal: As for `drop_in`; what ``"raise"`` raises is answered with 429.
        sinks: As for `drop_in`.
        events: As for `drop_in`.
        stop: Ends it from elsewhere.
        on_start: Called with the base URL when it listens.

    Raises:
        ConfigurationError: A value is outside what is allowed, there is no key, or the port cannot be had.
    """
    known = Keys(keys)
    if not len(known):
        _check_alone(host)
    listener = listening_socket(host, port)
    try:
        address = listener.getsockname()
        if not len(known):
            _check_alone(address[0])
        opening = Opening(policies=policies, ledger=ledger, on_refusal=on_refusal, sinks=sinks, events=events)
        try:
            inner = _client() if client is None else client
            app = AssistantsApp(opening.service(inner), known, limits)
            where = f"[{host}]" if ":" in host else host
            base_url = f"http://{where}:{address[1]}/v1"

            def started() -> None:
                if on_start is not None:
                    on_start(base_url)

            asyncio.run(_run(app, opening, inner, listener, grace, stop or Stop(), started))
        finally:
            opening.close()
    finally:
        listener.close()


async def _run(
    app: AssistantsApp,
    opening: Opening,
    client: openai.AsyncOpenAI,
    listener: socket.socket,
    grace: int,
    stop: Stop,
    on_start: Callable[[], None],
) -> None:
    config = uvicorn.Config(
        _announcing(app),
        http=AbortableProtocol,
        loop="asyncio",
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=grace,
    )
    server = _Server(config, grace)
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    try:
        with _signals(server):
            stop.ends(end)
            on_start()
            closing = asyncio.ensure_future(close_stuck(server.server_state.connections, app.limits))
            try:
                await server.serve(sockets=[listener])
            finally:
                closing.cancel()
    finally:
        try:
            await opening.finish(max(0.0, server.over_at - loop.time()))
        finally:
            await client.close()


def _announcing(app: ASGIApp) -> ASGIApp:
    """The application itself; uvicorn takes a function where it would ask an object for its interface."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return call


@contextlib.contextmanager
def _signals(server: _Server) -> Iterator[None]:
    """End the server in order at Ctrl-C and SIGTERM; a second one leaves out the rest of its grace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        if server.should_exit:
            server.force_exit = True
            server.over_at = 0.0
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _client() -> openai.AsyncOpenAI:
    """The client of the environment.

    Raises:
        ConfigurationError: There is no key.
    """
    try:
        return openai.AsyncOpenAI()
    except openai.OpenAIError:
        raise ConfigurationError(
            "no key reaches the models: set OPENAI_API_KEY, and OPENAI_BASE_URL for a server other than OpenAI's"
        ) from None


def _check_alone(host: str) -> None:
    """See to it that nobody else reaches a server without keys.

    Raises:
        ConfigurationError: Others do.
    """
    if not is_loopback(host):
        raise ConfigurationError(
            f"the server would listen on {host!r}, where others reach it, and has no keys of its own: give --key-file"
            f" FILE, or set {KEYS_VARIABLE}, or listen on 127.0.0.1"
        )
