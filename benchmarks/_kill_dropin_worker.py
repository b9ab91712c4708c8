"""A process that makes runs through the drop-in, and polls those of others, until it is killed in the midst of one."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from assistantguard import TokenCap, ToolStepCeiling, TransientRetry, drop_in
from assistantguard._blocking import block_on
from benchmarks._kill_worker import Done, Setting, Task
from benchmarks._soak_guards import CLEANUP_TIMEOUT, async_client, blocking_client, look_up

__all__ = ["DropInSetting", "drop_in_options", "work_over_drop_in"]

_ENDED = ("completed", "failed", "cancelled", "expired", "incomplete")
_GOOD = ("completed", "queued", "in_progress", "requires_action")


@dataclass(frozen=True, slots=True)
class DropInSetting(Setting):
    """See `Setting`."""

    assistant_id: str = ""


def drop_in_options(setting: Setting) -> dict[str, Any]:
    """Arguments of every drop-in client."""
    return {
        "policies": [TokenCap(run=100_000), ToolStepCeiling(6), TransientRetry(4)],
        "run_timeout": setting.run_timeout,
        "cleanup_timeout": CLEANUP_TIMEOUT,
        "ledger": setting.database,
        "lease_seconds": setting.lease_seconds,
        "sinks": [],
    }


def work_over_drop_in(connection: Connection, setting: DropInSetting, *, asynchronous: bool, background: bool) -> None:
    """Make the turns that come in on `connection`, each at once, and tell what became of them."""
    warnings.simplefilter("ignore")  # the SDK calls the whole of client.beta deprecated
    options = {**drop_in_options(setting), "background": background}
    if asynchronous:
        asyncio.run(_work_async(connection, setting, options))
        return
    telling = threading.Lock()
    with blocking_client(setting.base_url) as client, ThreadPoolExecutor(8) as pool:
        application = _Application(drop_in(client, **options), setting.assistant_id)

        def make(task: Task) -> None:
            done = block_on(application.make(task))
            with telling:
                connection.send(done)

        while (task := connection.recv()) is not None:
            pool.submit(make, task)


async def _work_async(connection: Connection, setting: DropInSetting, options: dict[str, Any]) -> None:
    async with async_client(setting.base_url) as client:
        application = _Application(drop_in(client, **options), setting.assistant_id)

        async def make(task: Task) -> None:
            connection.send(await application.make(task))

        making: set[asyncio.Task[None]] = set()
        while (task := await asyncio.to_thread(connection.recv)) is not None:
            one = asyncio.create_task(make(task))
            making.add(one)
            one.add_done_callback(making.discard)


class _Application:
    """A program that was written for the Assistants API, of either colour."""

    def __init__(self, client: Any, assistant_id: str) -> None:
        self._threads = client.beta.threads
        self._assistant_id = assistant_id

    async def make(self, task: Task) -> Done:
        """Make a turn, or go on with it where another process had come to."""
        try:
            return await self._make(task)
        except Exception as error:  # noqa: BLE001 - the parent judges
            return Done(task, None, repr(error))

    async def _make(self, task: Task) -> Done:
        run = await self._begun(task)
        if run is None:
            run = await self._begin(task)
        if task.hands_over:
            return Done(task, None, begun=True)
        while run.status not in _ENDED:
            run = await _got(self._threads.runs.poll(run.id, thread_id=task.thread, poll_interval_ms=20))
            if run.status == "requires_action":
                run = await self._submit(run, task)
        if run.status != "completed":
            return Done(task, None, f"{run.id} ended {run.status}: {run.last_error}")
        page = await _got(self._threads.messages.list(task.thread, run_id=run.id, order="asc"))
        return Done(task, "".join(part.text.value for message in page.data for part in message.content))

    async def _begun(self, task: Task) -> Any:
        """The run that was begun for a turn; None where there is none that may still be good."""
        page = await _got(self._threads.runs.list(task.thread, limit=20))
        for run in page.data:
            if (run.metadata or {}).get("mark") == task.mark and run.status in _GOOD:
                return run
        return None

    async def _begin(self, task: Task) -> Any:
        """Say what there is to say, where it was not said, and create the run."""
        page = await _got(self._threads.messages.list(task.thread, limit=20))
        said = any(task.text == part.text.value for message in page.data for part in message.content)
        where: dict[str, Any] = {"thread_id": task.thread, "assistant_id": self._assistant_id}
        where["metadata"] = {"mark": task.mark}
        if not said and len(task.text) % 2:
            where["additional_messages"] = [{"role": "user", "content": task.text}]
        elif not said:
            await _got(self._threads.messages.create(task.thread, role="user", content=task.text))
        if not task.streamed or task.hands_over:
            return await _got(self._threads.runs.create(**where))
        return await _last_run(self._threads.runs.stream(**where))

    async def _submit(self, run: Any, task: Task) -> Any:
        outputs = [
            {"tool_call_id": call.id, "output": look_up(**json.loads(call.function.arguments))}
            for call in run.required_action.submit_tool_outputs.tool_calls
        ]
        where: dict[str, Any] = {"run_id": run.id, "thread_id": task.thread, "tool_outputs": outputs}
        if not task.streamed:
            return await _got(self._threads.runs.submit_tool_outputs(**where))
        return await _last_run(self._threads.runs.submit_tool_outputs_stream(**where))


async def _got(result: Any) -> Any:
    """A value as it is, an awaitable's result."""
    return await result if inspect.isawaitable(result) else result


async def _last_run(manager: Any) -> Any:
    """A run as its last event tells it."""
    run = None
    if hasattr(manager, "__aenter__"):
        async with manager as stream:
            async for event in stream:
                run = event.data if event.data.object == "thread.run" else run
    else:
        with manager as stream:
            for event in stream:
                run = event.data if event.data.object == "thread.run" else run
    return run
