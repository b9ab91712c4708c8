"""What holds for every test: no key in the environment, no connection but to loopback, no event loop blocked, nothing
left behind."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from assistantguard import tokens
from benchmarks._postgres import PostgresServer
from tests.support.books import Books
from tests.support.browser import NAMES, Visitor, find_chromium, open_visitor
from tests.support.clock import Clock
from tests.support.databases import DIALECTS, fresh_url
from tests.support.watches import LoopWatch, threads_left
from tests.support.world import COLOURS, World

_REAL_CONNECT = socket.socket.connect
_REAL_CONNECT_EX = socket.socket.connect_ex
_REAL_GETADDRINFO = socket.getaddrinfo
_CLEARED = ("OPENAI_", "AZURE_OPENAI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "ASSISTANTGUARD_LEDGER")

settings.register_profile(
    "unhurried",
    deadline=None,
    derandomize=os.environ.get("HYPOTHESIS_PROFILE") != "ci",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")

if threading.current_thread() is threading.main_thread():
    # A suite that was started in the background inherits an ignored SIGINT, and tests press Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ConnectionBlocked(RuntimeError):
    """A test tried to leave the machine."""


def _is_local(host: object) -> bool:
    if host in {None, "", "localhost", b"localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_outside_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    attempts: list[object] = []

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in {socket.AF_INET, socket.AF_INET6} and not _is_local(address[0]):
            attempts.append(address)
            raise ConnectionBlocked(f"a test connects to {address!r}; only loopback is allowed")

    def connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        _REAL_CONNECT(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return _REAL_CONNECT_EX(self, address)

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            attempts.append(host)
            raise ConnectionBlocked(f"a test looks up {host!r}; only loopback is allowed")
        return _REAL_GETADDRINFO(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    # A library may swallow the exception, so the attempt itself fails the test.
    assert not attempts, f"connections to the outside were tried: {attempts}"


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(_CLEARED):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def loop_watch() -> Iterator[LoopWatch]:
    """Blocking calls of the guard's side on any event loop, in all tests."""
    watch = LoopWatch()
    with watch.watching():
        yield watch


@pytest.fixture(autouse=True)
def no_blocked_loop(loop_watch: LoopWatch) -> Iterator[None]:
    loop_watch.take()
    yield
    found = loop_watch.take()
    assert not found, "an event loop was blocked:\n" + "\n".join(found)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = threads_left(before)
    assert not left, f"threads are left that keep the program from ending: {left}"


@pytest.fixture(scope="session")
def warm() -> None:
    """Everything that is loaded at its first use is loaded, so that tests may use short limits."""
    for colour in COLOURS:
        with World(colour) as world:
            world.bot(world.sandbox()).chat("Hello")
    assert tokens.wait_until_ready(60)


@pytest.fixture(params=COLOURS)
def world(request: pytest.FixtureRequest, warm: None) -> Iterator[World]:
    """One scenario, run with the blocking and with the asyncio guard."""
    with World(request.param) as world:
        yield world


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock of guard and sandbox; it can be put forward."""
    return Clock(monkeypatch)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this process's own. Tests may restart it, and use a schema each: see `database_url`."""
    with PostgresServer(durable=False) as server:
        yield server


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once of each kind. The server is started when the first test needs it."""
    with fresh_url(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """A database to write books and threads into, and to run commands over."""
    books = Books(f"sqlite:///{tmp_path / 'guard.db'}")
    yield books
    books.close()


@pytest.fixture(scope="session")
def visitor() -> Iterator[Visitor]:
    """A Chromium without a window."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"there is no Chromium on this machine (looked for {', '.join(NAMES)})")
    with open_visitor(path) as visitor:
        yield visitor
