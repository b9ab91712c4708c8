"""Serving the dashboard on loopback, from its start to its end."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from assistantguard._connections import listening_socket
from assistantguard.dashboard.app import Dashboard
from assistantguard.errors import ConfigurationError
from assistantguard.storage import open_database
from assistantguard.telemetry import JsonLinesSink, Sink, fan_out

if TYPE_CHECKING:
    from assistantguard.events import Event
    from assistantguard.ledger.budget_lines import OwnLimits

__all__ = ["Stop", "serve"]

_HOST = "127.0.0.1"
_GRACE_SECONDS = 3


class Stop:
    """Ends a dashboard from elsewhere."""

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None
        self._lock = threading.Lock()
        self._wanted = False

    def __call__(self) -> None:
        """Ask it to end. From any thread, and before it began too."""
        with self._lock:
            self._wanted = True
            if self.server is not None:
                self.server.should_exit = True

    def ends(self, server: uvicorn.Server) -> None:
        """Note what is to be ended."""
        with self._lock:
            self.server = server
            server.should_exit = self._wanted


class _Server(uvicorn.Server):
    """Ends in order at Ctrl-C and SIGTERM, and lets the program go on then: the last changes are yet to be written."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    database: str,
    *,
    port: int = 8765,
    allow_changes: bool = False,
    events: Path | None = None,
    own_limits: OwnLimits | None = None,
    timezone: str = "UTC",
    refresh_seconds: float = 5.0,
    on_start: Callable[[str], None] | None = None,
    on_change: Sink | None = None,
    stop: Stop | None = None,
) -> None:
    """Serve the dashboard on loopback until Ctrl-C, SIGTERM, or `stop`.

    Args:
        database: The URL of the guards' database, which must be there.
        port: Port on 127.0.0.1; 0 takes a free one.
        allow_changes: Whether limits may be set and threads put in order.
        events: The file of JSON lines that guards append their events to: the last refusals are read from it, and
            changes are appended to it.
        own_limits: See `Dashboard`.
        timezone: See `Dashboard`.
        refresh_seconds: See `Dashboard`.
        on_start: Called with the link that lets its holder in when it listens.
        on_change: Is told of each change, besides the file.
        stop: Ends it from elsewhere.

    Raises:
        ConfigurationError: The database, the file, the time zone or the port cannot be had.
    """
    if events is not None:
        _check_file(events)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening_socket(_HOST, port))
        books = open_database(database, create=False)
        stack.callback(books.close)
        sink: Sink | None = None
        if allow_changes:
            sinks: list[Sink] = [] if on_change is None else [on_change]
            if events is not None:
                sinks.append(stack.enter_context(JsonLinesSink(events)))
            sink = fan_out(sinks) if sinks else _nowhere
        bound = listener.getsockname()[1]
        app = Dashboard(
            books,
            sink=sink,
            actor=_account(),
            own_limits=own_limits,
            events=events,
            timezone=timezone,
            name=str(bound),
            refresh_seconds=refresh_seconds,
        )
        server = _Server(
            uvicorn.Config(
                app,
                http="h11",
                loop="asyncio",
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        (stop or Stop()).ends(server)
        with server.capture_signals():  # from the moment on in which somebody may know that it is there
            if on_start is not None:
                on_start(app.address(f"http://{_HOST}:{bound}"))
            server.run(sockets=[listener])


def _nowhere(_: Event) -> None:
    """Drop an event."""


def _account() -> str:
    """The account of this machine's system that this program runs under."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _check_file(events: Path) -> None:
    """See to it that a file of events is a file, where there is anything of that name.

    Raises:
        ConfigurationError: It is something else, or cannot be read.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(events.stat().st_mode):
                raise ConfigurationError(f"--events {events} is no file: name the file that the guards' events go to")
            with events.open("rb"):
                return
    except OSError as error:
        raise ConfigurationError(f"--events {events} cannot be read: {error.strerror}") from error
