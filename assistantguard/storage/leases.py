"""The threads that this process drives now: their fences, and leases that are renewed while they last."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, NamedTuple

from assistantguard.errors import DatabaseUnavailable, LeaseLost
from assistantguard.storage.threads import Opened, Taken, VectorStoreRecord

if TYPE_CHECKING:
    from assistantguard.models import RunState, ThreadState
    from assistantguard.storage.threads import ThreadStore

__all__ = ["Leases", "process_name"]

_RENEWALS = 3
"""How often a lease is renewed in its time."""


def process_name() -> str:
    """A name for this process that no other has, another one with each call: ``host:process id:…``."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"


class _Lease(NamedTuple):
    fence: int
    until: float
    """How long it lasts where it is not renewed, a Unix time in seconds."""


class Leases:
    """Opens threads of a store for one guard, and saves them as its engine asks. Safe to call from several threads.

    Leases are renewed by a thread of the program, which lives as long as any is held. A process that dies renews
    nothing, so that others have its threads after `lease_seconds`.

    Args:
        store: Where the threads are.
        lease_seconds: After how long without a renewal others may have a thread.
    """

    def __init__(self, store: ThreadStore, lease_seconds: float) -> None:
        self.store = store
        self._seconds = lease_seconds
        self.begin_anew()
        _all.add(self)

    def begin_anew(self) -> None:
        """Have no thread, under a new name: a forked process is another owner than its parent."""
        self.owner = process_name()
        """Who has the threads, for others to see."""
        self._lock = threading.Lock()
        self._held: dict[str, _Lease] = {}
        self._alive_until = 0.0
        self._renewing: threading.Thread | None = None
        self._wake = threading.Event()

    @property
    def in_process(self) -> bool:
        """Whether calls return at once, and nothing outlives the process."""
        return self.store.in_process

    def together(self) -> AbstractContextManager[object]:
        """See `ThreadStore.together`."""
        return self.store.together()

    def open(self, thread_id: str, user: str | None, fresh: ThreadState | None) -> Opened | Taken:
        """Take a thread's lease. See `ThreadStore.open`."""
        now = time.time()
        opened = self.store.open(thread_id, self.owner, self._seconds, now, user=user, fresh=fresh)
        if isinstance(opened, Opened):
            with self._lock:
                self._held[thread_id] = _Lease(opened.fence, now + self._seconds)
                if not self.in_process and (self._renewing is None or not self._renewing.is_alive()):
                    self._wake.clear()
                    self._renewing = threading.Thread(
                        target=_renew, args=(weakref.ref(self), self._wake, self._seconds), daemon=True
                    )
                    self._renewing.start()
        return opened

    def save(self, thread: ThreadState, run: RunState | None, *, last: bool = False) -> None:
        """Keep a thread that was opened here, and its run; end its lease where this is the last word.

        Raises:
            LeaseLost: Another process drives it by now.
        """
        self.store.save(thread, run, self._fence(thread.id), close=last)
        if last:
            with self._lock:
                self._held.pop(thread.id, None)

    def overdue(self, thread: ThreadState) -> bool:
        """Whether others may have a thread that was opened here, since its lease was not renewed in time."""
        if self.in_process:
            return False
        with self._lock:
            lease = self._held.get(thread.id)
            return lease is not None and max(lease.until, self._alive_until) <= time.time()

    def confirm(self, thread: ThreadState, run: RunState | None) -> None:
        """Renew an overdue lease, where nobody else has taken the thread.

        Raises:
            LeaseLost: Another process drives it by now.
        """
        self.renew()
        self.save(thread, run)

    def close(self, thread: ThreadState) -> bool:
        """Save a thread and end its lease; return False, without effect, where it was lost."""
        with self._lock:
            lease = self._held.pop(thread.id, None)
        if lease is None:
            return True
        try:
            self.store.save(thread, None, lease.fence, close=True)
        except LeaseLost:
            return False
        return True

    def delete(self, thread: ThreadState) -> None:
        """Delete a thread that was opened here.

        Raises:
            LeaseLost: Another process drives it by now.
        """
        self.store.delete(thread.id, thread.user, self._fence(thread.id), time.time())
        with self._lock:
            self._held.pop(thread.id, None)

    def note_generation(
        self, thread: ThreadState, generation_id: str, became: Literal["begun", "kept", "deleted"]
    ) -> None:
        """Note that a conversation was begun for a thread, was left and kept on purpose, or deleted at the server."""
        now = time.time()
        if became == "deleted":
            self.store.generation_deleted([generation_id], now)
            return
        self.store.generation_begun(thread.id, generation_id, now)
        if became == "kept":
            self.store.generation_left(generation_id, now)

    def note_vector_store(self, file_ids: Sequence[str], vector_store_id: str, expires_at: float | None) -> None:
        """Note a vector store that was made or taken into use for a set of files."""
        record = VectorStoreRecord(vector_store_id, _hash_of(file_ids), expires_at, time.time())
        self.store.vector_store_used(record)

    def known_vector_store(self, file_ids: Sequence[str]) -> str | None:
        """The vector store that was made for these files; None where none is known to a database."""
        if self.in_process:
            return None
        known = self.store.vector_store(_hash_of(file_ids))
        return None if known is None else known.id

    def forget_vector_store(self, vector_store_id: str) -> None:
        """Note that a vector store cannot be used any more."""
        self.store.vector_store_gone(vector_store_id)

    def renew(self) -> bool:
        """Renew all leases; return whether there are any."""
        with self._lock:
            if not self._held:
                self._renewing = None
                return False
        now = time.time()
        self.store.renew(self.owner, now, self._seconds)
        self._alive_until = now + self._seconds
        return True

    def stop(self) -> None:
        """Renew no more."""
        self._wake.set()

    def _fence(self, thread_id: str) -> int:
        with self._lock:
            lease = self._held.get(thread_id)
        if lease is None:
            raise LeaseLost(f"the thread {thread_id} is not open here: open it before it is saved")
        return lease.fence


_all: weakref.WeakSet[Leases] = weakref.WeakSet()


def _after_fork() -> None:
    for leases in list(_all):
        leases.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _hash_of(file_ids: Sequence[str]) -> str:
    """The same for the same set of files, in any order."""
    return hashlib.sha256("\n".join(sorted(set(file_ids))).encode()).hexdigest()


def _renew(leases: weakref.ref[Leases], wake: threading.Event, seconds: float) -> None:
    while not wake.wait(seconds / _RENEWALS):
        mine = leases()
        if mine is None:
            return
        try:
            if not mine.renew():
                return
        except DatabaseUnavailable:  # the next renewal may get through; if none does, saving says that it was lost
            continue
        finally:
            del mine
