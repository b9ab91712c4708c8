"""The part of a sweep that concerns threads: archiving those that nobody uses, deleting those archived long ago."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from assistantguard.errors import LeaseLost, ThreadNotFound
from assistantguard.events import ThreadArchivedEvent, ThreadDeleted
from assistantguard.lifecycle.deletion import forget_thread
from assistantguard.lifecycle.report import PartName, SweepPart
from assistantguard.storage.threads import Opened, Taken, ThreadFilter

if TYPE_CHECKING:
    from assistantguard.lifecycle.work import Work
    from assistantguard.storage import ThreadInfo

__all__ = ["archive", "delete"]

IN_USE = "in use"
UNFINISHED = "a run is unfinished"
NO_CONSENT = "no consent to deletion"
LONGER_CONSENT = "the consent is to a later deletion"
NO_KEY = "no key"

_LEASE_SECONDS = 60.0
_PAGE = 500


def archive(work: Work, idle_for: float) -> SweepPart:
    """Put away the threads that nobody used for so many seconds."""
    before = work.started_at - idle_for
    wanted = ThreadFilter(everyone=True, archived=False, used_before=before, limit=_PAGE)

    def put_away(opened: Opened) -> bool:
        thread = opened.thread
        if thread.archived_at is not None or thread.last_used_at >= before:
            return False
        work.store.archive(thread.id, thread.user, work.now())
        work.emit(ThreadArchivedEvent(work.now(), work.id, thread.id, thread.last_used_at, thread.user))
        return True

    return _change(work, "archive", _all(work, wanted), put_away)


def delete(work: Work, archived_for: float) -> SweepPart:
    """Delete the threads that have been archived for so many seconds, where the application consents."""
    before = work.started_at - archived_for
    wanted = ThreadFilter(everyone=True, archived=True, archived_before=before, limit=_PAGE)
    infos = _all(work, wanted)
    consent = work.consent
    why = (
        NO_CONSENT
        if consent is None
        else LONGER_CONSENT
        if consent.delete_after > archived_for
        else NO_KEY
        if work.server is None
        else None
    )
    if why is not None or consent is None:
        left = {why: len(infos)} if infos and why is not None else {}
        return SweepPart("delete", len(infos), left=left, ids=tuple(info.id for info in infos))

    def forget(opened: Opened) -> bool:
        thread = opened.thread
        if thread.archived_at is None or thread.archived_at >= before:
            return False
        forget_thread(work.store, opened, work.now())
        reason = f"consent: {consent.words}"
        work.emit(ThreadDeleted(work.now(), work.id, thread.id, reason, thread.archived_at, thread.user))
        return True

    return _change(work, "delete", infos, forget, closes=True)


def _change(
    work: Work,
    name: PartName,
    infos: list[ThreadInfo],
    change: Callable[[Opened], bool],
    *,
    closes: bool = False,
) -> SweepPart:
    """Change the threads one by one, each under its lease, and look again whether it is still so.

    Args:
        work: The sweep.
        name: The part.
        infos: The threads.
        change: Does it; returns whether there was still something to do.
        closes: Whether a thread that was changed has no lease any more.
    """
    ids = tuple(info.id for info in infos)
    if not work.apply:
        return SweepPart(name, len(ids), ids=ids)
    done, left = 0, Counter[str]()
    for info in work.each(name, infos):
        try:
            opened = work.store.open(info.id, work.owner, _LEASE_SECONDS, work.now(), user=info.user)
        except ThreadNotFound:  # another sweep, or its user, was quicker
            continue
        if isinstance(opened, Taken):
            left[IN_USE] += 1
            continue
        changed = False
        try:
            if opened.run is not None:
                left[UNFINISHED] += 1
            else:
                changed = change(opened)
                done += changed
        except LeaseLost:
            left[IN_USE] += 1
        finally:
            if not (changed and closes):
                work.store.close(info.id, work.owner, opened.fence)
    return SweepPart(name, len(ids), done, left=dict(left), ids=ids)


def _all(work: Work, wanted: ThreadFilter) -> list[ThreadInfo]:
    return list(_pages(work, wanted))


def _pages(work: Work, wanted: ThreadFilter) -> Iterator[ThreadInfo]:
    while True:
        page = work.store.select(wanted)
        yield from page
        if len(page) < wanted.limit:
            return
        wanted = replace(wanted, after=(page[-1].last_used_at, page[-1].id))
