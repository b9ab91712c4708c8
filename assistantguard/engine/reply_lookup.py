"""Looking for replies in a store: nothing that goes wrong with it fails a turn or a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from assistantguard.events.replies import ReplyCached, ReplyCacheFailed, ReplyStored
from assistantguard.models import Usage
from assistantguard.models.cached import CachedQuestion, CachedReply

if TYPE_CHECKING:
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.questions import Asked
    from assistantguard.engine.session import Session
    from assistantguard.models import RunState, ThreadState
    from assistantguard.models.cached import ReplyStore
    from assistantguard.policies.reply_cache import ReplyCache

__all__ = ["ReplyLookup"]

T = TypeVar("T")
_OUT_OF_ORDER = 5.0
"""Seconds for which a store that failed is left alone."""
_CANDIDATES = 100


class ReplyLookup:
    """Asks a store, believes it no more than it may, and tells what came of it.

    Args:
        session: Whose events they are.
        driver: The clock, and where what blocks is done.
        policy: The cache's settings.
        store: Where the replies are.
    """

    def __init__(self, session: Session, driver: Driver, policy: ReplyCache, store: ReplyStore) -> None:
        self._session = session
        self._driver = driver
        self._policy = policy
        self._store = store
        self._at_once = store.in_process
        self._out_until = 0.0

    async def do(
        self, operation: str, otherwise: T, work: Callable[..., T], *arguments: Any, at_once: bool | None = None
    ) -> T:
        """Ask the store; `otherwise` where it is out of order."""
        if self._out_until and self._driver.now() < self._out_until:
            return otherwise
        try:
            if self._at_once if at_once is None else at_once:
                return work(*arguments)
            return await self._driver.blocking(lambda: work(*arguments), at_once=False)
        except Exception as error:  # noqa: BLE001 - a cache fails no turn
            if operation != "similar":
                self._out_until = self._driver.now() + _OUT_OF_ORDER
            self.failed(operation, error)
            return otherwise

    def get(self, asked: Asked, now: float) -> CachedReply | None:
        """The reply to a question, an empty one where others may wait for it. May block; raises what a store does."""
        found = self._store.get(asked.key, now)
        return None if found is None else self._checked(found, asked.key, now)

    async def similar(self, asked: Asked) -> CachedReply | None:
        """The reply to the question that the user's own function takes for the same."""
        similar, text, now = self._policy.similar, asked.text, self._driver.now()
        if similar is None or text is None:
            return None

        def choose() -> CachedReply | None:
            found = self._store.of_group(asked.group, now, _CANDIDATES)
            replies = {reply.key: reply for reply in found if reply.group == asked.group}
            if not replies:
                return None
            questions = [CachedQuestion(reply.question, reply.key, reply.stored_at) for reply in replies.values()]
            chosen = similar(text, questions)
            if chosen is None:
                return None
            if not isinstance(chosen, CachedQuestion) or chosen.key not in replies:
                raise TypeError(f"similar returned {type(chosen).__name__}, which is none of the questions")
            return self._checked(replies[chosen.key], chosen.key, now)

        return await self.do("similar", None, choose, at_once=False)

    def _checked(self, found: Any, key: str, now: float) -> CachedReply | None:
        """What a store found, where it is a reply of that key that may be given now; None for anything else."""
        if not isinstance(found, CachedReply) or found.key != key or found.expires_at <= now:
            return None
        good = isinstance(found.text, str) and isinstance(found.usage, Usage)
        return found if good and len(found.text) <= self._policy.max_characters else None

    def answered(
        self,
        thread: ThreadState,
        run: RunState,
        reply: CachedReply,
        how: Literal["exact", "similar", "shared"],
        now: float,
    ) -> None:
        """Tell that a run was answered out of the store."""
        session, age = self._session, max(0.0, now - reply.stored_at)
        session.emit(
            ReplyCached(now, session.id, thread.id, run.id, run.model, how, age, reply.usage, reply.cost, thread.user)
        )

    def stored(self, reply: CachedReply, run_id: str) -> None:
        """Tell that a run's reply is kept; of one that is empty there is nothing to tell."""
        if reply.text:
            session, size = self._session, len(reply.text)
            at, until = reply.stored_at, reply.expires_at
            session.emit(ReplyStored(at, session.id, reply.thread_id, run_id, reply.model, size, until))

    def failed(self, operation: str, error: Exception) -> None:
        """Tell that the cache could not do something."""
        session = self._session
        session.emit(ReplyCacheFailed(self._driver.now(), session.id, "", operation, type(error).__name__))
