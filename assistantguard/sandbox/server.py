"""A uvicorn server on a background thread, quick to start and to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn

from assistantguard._connections import AbortableProtocol, listening_socket

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundServer", "config"]

T = TypeVar("T")

START_SECONDS = 10.0
STOP_SECONDS = 10.0
GRACE_SECONDS = 3.0
MODEL_THREADS = 256
"""How many functions that answer may block at once."""


def config(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """Return a quiet configuration: no log lines, no lifespan, no signal handlers of its own."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=AbortableProtocol,
        loop="asyncio",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
    )


class _Server(uvicorn.Server):
    """Waits for an event where uvicorn looks ten times a second."""

    def __init__(self, configured: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(configured)
        self._on_start = on_start
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_start()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)
            ticks += 10

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End like uvicorn, without its fixed waits; requests that do not end in time are cancelled."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        give_up_at = self._loop.time() + GRACE_SECONDS
        while self.server_state.connections or self.server_state.tasks:
            if self._loop.time() > give_up_at:
                for task in self.server_state.tasks:
                    task.cancel()
                break
            await asyncio.sleep(0.002)

    def stop(self) -> None:
        """Ask the server to end. Called from any thread."""

        def end() -> None:
            self.should_exit = True
            self._stop.set()

        self._loop.call_soon_threadsafe(end)


class BackgroundServer:
    """Serves an ASGI application on loopback until it is closed.

    Args:
        app: The application.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        on_close: Called on the server's event loop before it ends.
    """

    def __init__(self, app: Any, *, host: str, port: int, on_close: Callable[[], None]) -> None:
        self._on_close = on_close
        self._socket = listening_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._config = config(app, host=host, port=self.port)
        self._config.load()
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="assistantguard-sandbox", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS) or self._failure is not None:
            self.close()
            raise RuntimeError("the sandbox's server did not start") from self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        workers = ThreadPoolExecutor(MODEL_THREADS, thread_name_prefix="assistantguard-sandbox-model")
        asyncio.get_running_loop().set_default_executor(workers)
        self._server = _Server(self._config, self._ready.set)
        await self._server.serve(sockets=[self._socket])

    def call(self, action: Callable[[], T]) -> T:
        """Run something on the server's event loop, from any thread, and return what it returns."""
        server = self._server
        if server is None or threading.current_thread() is self._thread:
            return action()

        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), server._loop).result()  # noqa: SLF001 - one class in two

    def close(self) -> None:
        """End the server and wait for its thread.

        Raises:
            RuntimeError: It did not end in time.
        """
        server = self._server
        if server is not None and self._thread.is_alive():
            server._loop.call_soon_threadsafe(self._on_close)  # noqa: SLF001 - one class in two
            server.stop()
        self._thread.join(STOP_SECONDS)
        self._socket.close()
        if self._thread.is_alive():
            raise RuntimeError(f"the sandbox's server did not end within {STOP_SECONDS:g} seconds")
