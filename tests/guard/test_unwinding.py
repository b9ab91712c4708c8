from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import anyio
import pytest

from assistantguard import _unwinding
from assistantguard._unwinding import Unwinding


async def cancel_again_and_again(work: Awaitable[object], begun: asyncio.Event) -> asyncio.Task[object]:
    async def wait() -> object:
        return await Unwinding(work)

    task = asyncio.ensure_future(wait())
    await begun.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    return task


def test_what_cleans_up_is_cancelled_once_however_often_its_task_is() -> None:
    async def scenario() -> list[str]:
        begun, told = asyncio.Event(), []

        async def work() -> None:
            try:
                begun.set()
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                told.append("cancelled")
                await asyncio.sleep(0)
                await asyncio.sleep(0.01)
                told.append("cleaned up")
                raise

        assert (await cancel_again_and_again(work(), begun)).cancelled()
        return told

    assert asyncio.run(scenario()) == ["cancelled", "cleaned up"]


def test_a_cancellation_that_waited_is_not_lost_where_the_first_was_swallowed() -> None:
    async def scenario() -> bool:
        begun = asyncio.Event()

        async def work() -> str:
            try:
                begun.set()
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
            return "went on"

        return (await cancel_again_and_again(work(), begun)).cancelled()

    assert asyncio.run(scenario())


@pytest.mark.parametrize("hangs", [30.0, 0.0])
def test_a_clean_up_that_does_not_end_is_cancelled_again(hangs: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_unwinding, "_LIMIT", 0.05)

    async def scenario() -> bool:
        begun = asyncio.Event()

        async def work() -> None:
            try:
                begun.set()
                await asyncio.sleep(30)
            finally:
                for _ in range(1_000_000):
                    await asyncio.sleep(hangs)

        return (await cancel_again_and_again(work(), begun)).cancelled()

    assert asyncio.run(scenario())


def test_a_scope_within_ends_as_it_would() -> None:
    async def scenario() -> str:
        async def work() -> str:
            for _ in range(2):
                with anyio.move_on_after(0.01):
                    await asyncio.sleep(30)
            with pytest.raises(asyncio.TimeoutError):  # before Python 3.11 another class than TimeoutError
                await asyncio.wait_for(asyncio.sleep(30), 0.01)
            await asyncio.sleep(0)
            return "went on"

        return await Unwinding(work())

    assert asyncio.run(scenario()) == "went on"


def test_what_is_raised_and_what_is_given_come_through() -> None:
    async def scenario() -> int:
        async def work(fails: bool) -> int:
            await asyncio.sleep(0)
            if fails:
                raise KeyError("no such thing")
            return 3

        with pytest.raises(KeyError):
            await Unwinding(work(True))
        return await Unwinding(work(False))

    assert asyncio.run(scenario()) == 3
