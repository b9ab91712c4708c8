"""Making a set of files searchable once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from assistantguard import events
from assistantguard.engine.admission import FILE_SEARCH_TOOL
from assistantguard.errors import ConfigurationError, RunFailed, RunTimedOut, VectorStoreFailed
from assistantguard.models import RunState
from assistantguard.policies import EmbedFiles

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import VectorStoreInfo
    from assistantguard.engine.steady import Steady
    from assistantguard.models import ThreadState

__all__ = ["Files"]

_FIRST_POLL = 0.1
_SLOWEST_POLL = 2.0
_GONE = 404


class Files:
    """Attaches vector stores to threads."""

    def __init__(self, asking: Asking, steady: Steady) -> None:
        self._asking = asking
        self._steady = steady
        self._session = steady.session
        self._driver = steady.driver
        self._backend = steady.backend

    async def attach(self, thread: ThreadState, file_ids: Sequence[str]) -> str:
        """Make `file_ids` searchable on `thread`, in addition to those it has; return the vector store's id.

        Raises:
            ConfigurationError: There are no file ids, or one is not a string.
            VectorStoreFailed: A file could not be embedded, or not in time.
            RunFailed: The server refused.
        """
        if isinstance(file_ids, str) or not file_ids or not all(isinstance(one, str) and one for one in file_ids):
            raise ConfigurationError(
                f"attach_files got {file_ids!r}: give a list of file ids, for example ['file-abc', 'file-def']"
            )
        wanted = tuple(sorted({*thread.file_ids, *file_ids}))
        if wanted == thread.file_ids and thread.vector_store_id is not None:
            return thread.vector_store_id
        now = self._driver.now()
        stand_in = RunState("", thread.id, self._session.assistant.model, started_at=now)
        stand_in.deadline = now + self._session.run_timeout
        async with self._driver.exclusive(",".join(wanted)):
            info = await self._ready_store(thread, wanted, stand_in, replaces=None)
        thread.file_ids = wanted
        return info.id

    async def keep_alive(self, thread: ThreadState, run: RunState, *, gone: bool = False) -> None:
        """Build the thread's store again where it has expired, or where the server says that it is gone."""
        if thread.vector_store_id is None or not thread.file_ids:
            return
        if not gone and (thread.vector_store_expires_at is None or self._driver.now() < thread.vector_store_expires_at):
            return
        old = thread.vector_store_id
        if not gone:
            info = await self._steady.call(thread, lambda timeout: self._backend.vector_store(old, timeout), run)
            if info.status != "expired":
                await self._keep(thread.file_ids, info)
                self._note(thread, info)
                return
        async with self._driver.exclusive(",".join(thread.file_ids)):
            await self._ready_store(thread, thread.file_ids, run, replaces=old)

    async def _ready_store(
        self, thread: ThreadState, file_ids: Sequence[str], run: RunState, *, replaces: str | None
    ) -> VectorStoreInfo:
        """A store of these files that is ready, found or made.

        Raises:
            VectorStoreFailed: A file could not be embedded, or the policy's time is up.
            RunTimedOut: The run's deadline came first.
            RunFailed: The server refused.
        """
        session = self._session
        ruling = self._asking.rule("on_files", self._asking.view(thread, None, "", session.assistant.model))
        terms = ruling.decision if isinstance(ruling.decision, EmbedFiles) else EmbedFiles("default", reuse=False)
        deadline = self._driver.now() + terms.timeout
        if run.deadline is not None and run.deadline < deadline:
            return await self._find_or_make(thread, file_ids, run, terms, replaces)
        try:
            return await self._find_or_make(thread, file_ids, replace(run, deadline=deadline), terms, replaces)
        except (RunTimedOut, RunFailed) as error:
            if self._driver.now() < deadline:
                raise
            raise self._not_ready(thread, "the vector store", terms.timeout, "the server did not answer") from error

    async def _find_or_make(
        self, thread: ThreadState, file_ids: Sequence[str], run: RunState, terms: EmbedFiles, replaces: str | None
    ) -> VectorStoreInfo:
        session, driver = self._session, self._driver
        began = driver.now()
        if terms.reuse:
            found = await self._known(thread, file_ids, run, replaces)
            if found is None:
                found = await self._steady.call(
                    thread, lambda timeout: self._backend.find_vector_store(file_ids, timeout), run
                )
            if found is not None and found.id != replaces:
                await self._keep(file_ids, found)
                found = await self._wait(thread, found, run, terms.timeout)
                self._note(thread, found)
                session.emit(events.VectorStoreReused(driver.now(), session.id, thread.id, found.id, len(file_ids)))
                return found
        info = await self._steady.call(
            thread,
            lambda timeout: self._backend.create_vector_store(file_ids, terms.expires_after_days, timeout),
            run,
        )
        await self._keep(file_ids, info)
        info = await self._wait(thread, info, run, terms.timeout)
        self._note(thread, info)
        session.emit(
            events.VectorStoreCreated(
                driver.now(),
                session.id,
                thread.id,
                info.id,
                len(file_ids),
                driver.now() - began,
                info.usage_bytes,
                replaces,
            )
        )
        return info

    async def _known(
        self, thread: ThreadState, file_ids: Sequence[str], run: RunState, replaces: str | None
    ) -> VectorStoreInfo | None:
        """The store that was noted for these files, where it can still be used."""
        states = self._session.states
        store_id = await self._driver.blocking(lambda: states.known_vector_store(file_ids), at_once=states.in_process)
        if store_id is None or store_id == replaces:
            return None
        try:
            info = await self._steady.call(thread, lambda timeout: self._backend.vector_store(store_id, timeout), run)
        except RunFailed as error:
            if error.failure is None or error.failure.status_code != _GONE:
                raise
            await self._driver.blocking(lambda: states.forget_vector_store(store_id), at_once=states.in_process)
            return None
        return None if info.status == "expired" or info.failed else info

    def _not_ready(self, thread: ThreadState, what: str, timeout: float, why: str) -> VectorStoreFailed:
        error = VectorStoreFailed(
            f"{what} was not ready after {timeout:g} s ({why}): raise VectorStoreReuse(timeout=…), or attach fewer"
            " files"
        )
        error.thread_id = thread.id
        return error

    async def _wait(self, thread: ThreadState, info: VectorStoreInfo, run: RunState, timeout: float) -> VectorStoreInfo:
        """Poll until the store is ready: completed, nothing in progress, and no file failed."""
        driver, deadline = self._driver, run.deadline
        assert deadline is not None
        pause = _FIRST_POLL
        while info.status != "completed" or info.in_progress:
            if driver.now() >= deadline:
                why = f"{info.in_progress} files in progress, status {info.status}"
                raise self._not_ready(thread, f"the vector store {info.id}", timeout, why)
            await driver.sleep(min(pause, max(0.0, deadline - driver.now())))
            pause = min(pause * 1.5, _SLOWEST_POLL)
            store_id = info.id
            info = await self._steady.call(
                thread,
                lambda timeout: self._backend.vector_store(store_id, timeout),  # noqa: B023 - called at once
                run,
            )
        if info.failed:
            reasons: list[str] = []
            with contextlib.suppress(Exception):  # the reasons only explain; the failure itself is certain
                reasons = await self._backend.failed_files(info.id, self._steady.limit(run))
            error = VectorStoreFailed(
                f"{info.failed} of the files in the vector store {info.id} could not be embedded"
                + (f" ({'; '.join(reasons)})" if reasons else "")
                + ": mend or leave out those files and attach the rest"
            )
            error.thread_id = thread.id
            raise error
        return info

    async def _keep(self, file_ids: Sequence[str], info: VectorStoreInfo) -> None:
        """Note that a store is in use, so that it is found when nothing refers to it any more."""
        states = self._session.states
        await self._driver.blocking(
            lambda: states.note_vector_store(file_ids, info.id, info.expires_at), at_once=states.in_process
        )

    def _note(self, thread: ThreadState, info: VectorStoreInfo) -> None:
        if thread.vector_store_id != info.id and thread.context_known:
            thread.context_at_most += FILE_SEARCH_TOOL.at_most
        thread.vector_store_id = info.id
        thread.vector_store_expires_at = info.expires_at
