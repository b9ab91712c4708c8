"""Playing several rows at once, each in a sandbox of its own, so that no row changes another.

A row is played by one process from beginning to end: its threads share a prompt cache, as those of one
application do, and the figures do not depend on how many processes there are.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard.replay.play import Row, play_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Event

    from assistantguard.replay.recording import RecordedThread
    from assistantguard.replay.settings import RowSettings

__all__ = ["play_rows"]

_POLL_SECONDS = 0.1
_TURNS_WORTH_A_PROCESS = 500
"""A process takes about two seconds to start, in which a hundred turns are played."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a worker process is given when it begins."""

    threads: Sequence[RecordedThread]
    ticks: SimpleQueue[str]
    """Gets the row's name after each turn."""
    stop: Event
    """Set when the rows are no longer wanted."""


class _NoLongerWantedError(Exception):
    pass


def play_rows(
    rows: Sequence[RowSettings],
    threads: Sequence[RecordedThread],
    *,
    jobs: int | None = None,
    on_turn: Callable[[str], None] = lambda _row: None,
) -> list[Row]:
    """Play every row.

    Args:
        rows: What to play.
        threads: What was recorded.
        jobs: Processes at once; 1 plays in this one. None takes one for each processor, and only this one where
            there is little to play.
        on_turn: Called with the row's name after each turn.

    With more than one job the program's main module is imported by each process: guard what it does with
    ``if __name__ == "__main__"``.

    Returns:
        One row for each of `rows`, in their order.

    Raises:
        ReplayError: The sandbox refused a request.
    """
    if jobs is None:
        turns = len(rows) * sum(len(thread.turns) for thread in threads)
        jobs = 1 if turns < _TURNS_WORTH_A_PROCESS else os.cpu_count() or 1
    jobs = min(jobs, len(rows))
    if jobs <= 1:
        return [play_row(row, threads, lambda row=row: on_turn(row.name)) for row in rows]  # type: ignore[misc]
    # Not fork: this process may have threads, and a forked child would have their locks but not them.
    context = multiprocessing.get_context("spawn")
    shared = _Shared(threads, context.SimpleQueue(), context.Event())
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(shared,)) as pool:
        try:
            with _interrupts_deferred():
                futures = [pool.submit(_play, row) for row in rows]
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                while not shared.ticks.empty():
                    on_turn(shared.ticks.get())
                for future in done:
                    future.result()
        except BaseException:
            shared.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold Ctrl-C back, also in processes that are started meanwhile, and in those for good.

    It reaches every process of a terminal; the parent passes it on through `_Shared.stop`.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(shared: _Shared) -> None:
    global _given  # noqa: PLW0603  how a pool's worker keeps what its initializer got
    _given = shared


_given: _Shared | None = None


def _play(row: RowSettings) -> Row:
    shared = _given
    assert shared is not None

    def check() -> None:
        if shared.stop.is_set():
            raise _NoLongerWantedError

    def tick() -> None:
        check()
        shared.ticks.put(row.name)

    check()
    return play_row(row, shared.threads, tick)
