"""What holds for every test of the drop-in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistantguard.dropin.colours import AsyncioColour, BlockingColour
from assistantguard.engine.ports import Driver
from tests.dropin.calling import Application, application_for
from tests.dropin.wire_checks import WireChecks
from tests.support.world import World
from tests.wire.contract import check_requests

HERE = Path(__file__).parent
_LOOK = 0.005

MakeApplication = Callable[..., Application]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK calls the whole of ``client.beta`` deprecated, and here it is called on purpose."""
    for item in items:
        if HERE in item.path.parents:
            for text in ("The Assistants API is deprecated", "deprecated$"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{text}:DeprecationWarning"))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[WireChecks]:
    """Every answer that is given keeps the contract."""
    checks = WireChecks(monkeypatch)
    yield checks
    problems = checks.problems()
    assert not problems, "\n".join(problems)


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where the drop-in keeps its state; None is in memory."""
    return None if request.param == "memory" else f"sqlite:///{tmp_path / 'guard.db'}"


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Queued runs begin once this is set, which it is at first."""
    event = threading.Event()
    event.set()

    async def held(driver: Driver, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while not event.is_set():
            with contextlib.suppress(asyncio.CancelledError):  # as if it had not begun
                await driver.sleep(_LOOK)
        await work()

    for colour in (BlockingColour, AsyncioColour):

        def spawn(self: Any, work: Any, real: Any = colour.spawn) -> Any:
            return real(self, lambda: held(self.driver, work))

        monkeypatch.setattr(colour, "spawn", spawn)
    yield event
    event.set()


@pytest.fixture
def app(world: World, wire: WireChecks, url: str | None, request: pytest.FixtureRequest) -> Iterator[MakeApplication]:
    """Make an application over a sandbox: ``app(["Hello"], policies=[…], faults=[…])``.

    At the end all its answers and requests must have kept their contracts, and the methods that the test says it drives
    (`drives`) must have been called.
    """
    made: list[Application] = []

    def make(model: Any = None, *, sandbox: Any = None, **options: Any) -> Application:
        of_sandbox = {name: options.pop(name) for name in ("faults", "model_in_thread", "embedding") if name in options}
        application = application_for(world, sandbox or world.sandbox(model, **of_sandbox), url, **options)
        made.append(application)
        return application

    yield make
    for application in made:
        check_requests(application.sandbox.requests)
    called = set().union(*(application.driven for application in made))
    missed = getattr(request.function, "drives", frozenset()) - called
    assert not missed, f"the test says that it drives these, and does not: {sorted(missed)}"
