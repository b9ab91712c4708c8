"""What the ways through which a batch can go have in common: its jobs, its desk, its texts, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from assistantguard.batches.events import BatchProgressed
from assistantguard.batches.problems import BatchUnfinished
from assistantguard.batches.results import BatchProgress
from assistantguard.batches.state import FINISHED
from assistantguard.errors import RetriesExhausted

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from assistantguard.batches.desk import Desk
    from assistantguard.batches.jobs import Planned
    from assistantguard.batches.server import BatchServer
    from assistantguard.batches.state import BatchState, JobRecord

__all__ = ["Journey"]

T = TypeVar("T")
_FIRST_WAIT = 2.0
_LONGEST_WAIT = 60.0
_SLOWER = 1.5


@dataclass(slots=True, eq=False, repr=False)
class Journey:
    """One call's work on a batch."""

    desk: Desk
    server: BatchServer
    state: BatchState
    jobs: Sequence[Planned]
    through: str
    cancels: bool
    """Whether what is not done shall not be done any more."""
    until: float | None
    """Unix time after which the caller waits no more."""
    poll: float | None
    """Seconds between two looks; None begins with 2 and grows to 60."""
    tell: Callable[[BatchProgress], object] | None
    _told: tuple[object, ...] = ()
    _wait: float = _FIRST_WAIT

    @property
    def texts(self) -> dict[int, str]:
        """What jobs were answered with, by their positions."""
        return self.desk.texts

    def record(self, job: Planned) -> JobRecord:
        """How far a job is."""
        return self.state.jobs[job.position]

    def unfinished(self) -> list[tuple[Planned, JobRecord]]:
        """The jobs that are not finished."""
        pairs = ((job, self.record(job)) for job in self.jobs)
        return [(job, record) for job, record in pairs if record.stage not in FINISHED]

    async def call(self, operation: Callable[[float], Awaitable[T]]) -> T:
        """Make a call that may be repeated, under the guard's retry policy."""
        desk = self.desk
        await desk.confirm()
        return await desk.steady.call(desk.thread, operation)

    async def look(self, operation: Callable[[float], Awaitable[T]]) -> T | None:
        """As `call`; None where the server cannot be reached now: it is asked again later."""
        try:
            return await self.call(operation)
        except RetriesExhausted:
            return None

    async def pause(self) -> None:
        """Wait until the next look.

        Raises:
            BatchUnfinished: The caller's time is up; the server goes on.
        """
        wait = self.poll
        if wait is None:
            wait, self._wait = self._wait, min(self._wait * _SLOWER, _LONGEST_WAIT)
        self.check_time(wait)
        await self.desk.driver.sleep(wait)

    def check_time(self, seconds: float = 0.0) -> None:
        """Make sure that the caller waits so much longer.

        Raises:
            BatchUnfinished: The caller's time is up; the server goes on.
        """
        if self.until is not None and self.desk.driver.now() + seconds > self.until:
            raise BatchUnfinished(
                f"the batch {self.state.id} is not done yet, and goes on at the server: ask for the same jobs again to"
                " go on waiting",
                self.state.id,
            )

    async def meanwhile(self) -> None:
        """What is due now and then while a job waits for its turn.

        Raises:
            BatchUnfinished: The caller's time is up.
            LeaseLost: Another process has taken the batch over.
        """
        self.check_time()
        await self.desk.keep()

    def progress(
        self, stage: Literal["admitting", "submitting", "waiting", "settling"], at_server: Mapping[str, tuple[int, int]]
    ) -> None:
        """Tell how far the batch is, where that has changed.

        Args:
            stage: What is being done.
            at_server: Jobs that are done and failed at the server and not settled, by part.
        """
        done = failed = 0
        for record in self.state.jobs:
            if record.stage in FINISHED:
                done += 1
                failed += record.stage != "completed"
        done += sum(count[0] for count in at_server.values())
        failed += sum(count[1] for count in at_server.values())
        if (stage, done, failed) == self._told:
            return
        moved = self._told[1:] != (done, failed)
        self._told = (stage, done, failed)
        if self.tell is not None:
            self.tell(BatchProgress(len(self.jobs), min(done, len(self.jobs)), failed, stage))
        if moved and stage == "waiting":
            session = self.desk.session
            session.emit(
                BatchProgressed(
                    self.desk.driver.now(), session.id, self.state.id, self.through, len(self.jobs), done, failed
                )
            )
