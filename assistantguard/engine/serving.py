"""Making a cached reply a turn's: its message on the budgets, both in the conversation, the entry in the books."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard import tokens
from assistantguard.engine.admission import framing
from assistantguard.engine.budgets import HOLD_GRACE, BudgetWatch, Standing, standings
from assistantguard.engine.healing import plan_repair
from assistantguard.engine.input import text_of
from assistantguard.errors import OutcomeUnknown, RunFailed
from assistantguard.ledger import Claim, Entry, LedgerRefusal
from assistantguard.ledger.base import REPLY_CACHE
from assistantguard.models import Usage
from assistantguard.models.items import assistant_message, user_message
from assistantguard.models.marks import mark_of
from assistantguard.models.run import InFlight
from assistantguard.policies.ruling import PlacedCap

if TYPE_CHECKING:
    from assistantguard.engine.admission import Admission
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.rotation import Rotation
    from assistantguard.engine.steady import Steady
    from assistantguard.models import RunState, ThreadState
    from assistantguard.models.cached import CachedReply

__all__ = ["Booking", "Serving"]

_TAIL = 100
_TRIES = 3
"""How often a message is sent whose fate is not known, with a look before each."""
_BUSY_POLL = 0.05
_RACE_POLL = 0.002


class Booking:
    """Puts cached replies on the books.

    Args:
        asking: The policies.
        admission: Says why a message does not fit.
    """

    def __init__(self, asking: Asking, admission: Admission) -> None:
        self._session = asking.session
        self._driver = asking.driver
        self._asking = asking
        self._admission = admission
        self._budgets = BudgetWatch(asking.session, asking.driver)

    async def book(self, thread: ThreadState, run: RunState, reply: CachedReply) -> None:
        """Put a reply on the books for a message that is in no conversation, in one transaction.

        Raises:
            Refused: A budget has no message left.
        """
        run.text, run.cached, run.status = reply.text, True, "completed"
        run.message_counted = False
        caps = await self._admit(thread, run, reply)
        run.message_counted = True
        await self._budgets.look(thread, run, caps)

    async def _admit(self, thread: ThreadState, run: RunState, reply: CachedReply | None = None) -> list[PlacedCap]:
        """Hold the message on every budget that counts messages, as a request would; with a `reply`, book it at once.

        The run is saved in the same transaction. Returns the caps it was admitted under.
        """
        session, driver = self._session, self._driver
        wait_until = driver.now() + max((budget.wait for budget, _ in session.policies.budgets), default=0.0)
        while True:
            placed = self._caps(thread, run)
            standing = await self._standings(placed)
            full = next((each for each in standing if not each.placed.observed and not _has_room(each)), None)
            if full is not None:
                busy = full.placed.cap.limit - full.balance.committed >= 1
                if busy and driver.now() < min(wait_until, run.deadline or wait_until):
                    await driver.sleep(_BUSY_POLL)
                    continue
                raise self._admission.no_message_left(thread, run, full.placed, full.balance)
            hold_id = f"hold_{uuid.uuid4().hex}"
            if reply is None:
                run.hold_id, run.in_flight = hold_id, self._in_flight(thread, run)
            entry = None if reply is None else self._entry(thread, run, reply)
            try:
                await self._reserve(thread, run, standing, hold_id, entry)
            except LedgerRefusal:  # another was quicker: look again at what is left
                run.hold_id = run.in_flight = None
                await driver.sleep(_RACE_POLL)
                continue
            for each in standing:
                if each.placed.observed and not _has_room(each):
                    view = self._asking.view(thread, run, "", run.model)
                    cap = each.placed.cap
                    reason = f"{cap.account} would pass its {cap.limit} messages"
                    self._asking.report(view, each.placed.policy, "before_request", "refuse", reason)
            return [each.placed for each in standing]

    def _caps(self, thread: ThreadState, run: RunState) -> list[PlacedCap]:
        budgets = self._session.policies.budgets
        if not budgets or run.message_counted:
            return []
        view = self._asking.view(thread, run, "", run.model)
        return [
            PlacedCap(cap, budget.name, observed)
            for budget, observed in budgets
            if "messages" in budget.limits and (owner := budget.owner(view)) is not None
            for cap in budget.caps(owner, view.now)
            if cap.metric == "messages"
        ]

    async def _standings(self, placed: Sequence[PlacedCap]) -> list[Standing]:
        ledger = self._session.ledger
        if not placed:
            return []
        return await self._driver.blocking(lambda: standings(ledger, placed), at_once=ledger.in_process)

    async def _reserve(
        self, thread: ThreadState, run: RunState, standing: Sequence[Standing], hold_id: str, entry: Entry | None
    ) -> None:
        ledger, states = self._session.ledger, self._session.states
        claims = {"": Claim(f"session:{self._session.id}", "tokens", Decimal(0))}
        for each in standing:
            cap = each.placed.cap
            limit = None if each.placed.observed else cap.limit
            known = claims.get(cap.account)
            if known is not None and known.limit is not None:
                limit = known.limit if limit is None else min(limit, known.limit)
            until = None if cap.terms is None else cap.terms.renews_at
            claims[cap.account] = Claim(cap.account, "messages", Decimal(1), limit, until)
        expires_at = (run.deadline or self._driver.now()) + HOLD_GRACE

        def reserve() -> None:
            with states.together():
                ledger.reserve(hold_id, tuple(claims.values()), expires_at)
                if entry is not None:
                    ledger.commit(hold_id, entry)
                states.save(thread, run)

        await self._driver.blocking(reserve, at_once=ledger.in_process and states.in_process)

    def _in_flight(self, thread: ThreadState, run: RunState) -> InFlight | None:
        """What another process must know, should this one die: what it may find in the conversation, and may delete."""
        if self._session.states.in_process:
            return None
        marks = [mark_of(item) for item in run.input]
        return InFlight(REPLY_CACHE, run.model, run.attempt, thread.generation_id, marks, 0, 0, 0, self._driver.now())

    async def _end(self, thread: ThreadState, run: RunState, reply: CachedReply | None) -> None:
        """End the hold; put what was saved on the books, unless there is no reply after all."""
        await self._driver.protect(self._settle(thread, run, reply))

    async def _settle(self, thread: ThreadState, run: RunState, reply: CachedReply | None) -> None:
        ledger, states, hold_id, sent = self._session.ledger, self._session.states, run.hold_id, run.in_flight
        assert hold_id is not None
        entry = None if reply is None else self._entry(thread, run, reply)
        run.hold_id = run.in_flight = None

        def end() -> None:
            with states.together():
                if entry is None:
                    ledger.release(hold_id)
                else:
                    ledger.commit(hold_id, entry)
                states.save(thread, run)

        try:
            await self._driver.blocking(end, at_once=ledger.in_process and states.in_process)
        except BaseException:
            run.hold_id, run.in_flight = hold_id, sent
            raise

    def _entry(self, thread: ThreadState, run: RunState, reply: CachedReply) -> Entry:
        return Entry(
            self._driver.now(),
            thread.id,
            run.id,
            run.attempt,
            run.model,
            Usage(),
            Decimal(0),
            REPLY_CACHE,
            user=thread.user,
            tenant=thread.tenant,
            saved_tokens=reply.usage.total_tokens,
            saved_cost=reply.cost,
        )


class Serving(Booking):
    """Makes cached replies those of turns.

    Args:
        asking: The policies.
        steady: Unpaid calls.
        rotation: Begins conversations.
        admission: Says why a message does not fit.
    """

    def __init__(self, asking: Asking, steady: Steady, rotation: Rotation, admission: Admission) -> None:
        super().__init__(asking, admission)
        self._steady = steady
        self._rotation = rotation

    async def serve(self, thread: ThreadState, run: RunState, content: Any, reply: CachedReply) -> bool:
        """Answer `content`, a user's message, with `reply`: the run is completed then.

        Returns:
            False where the conversation does not take it, and holds nothing of it.

        Raises:
            Refused: A budget has no message left.
            RunFailed: It is not known whether the conversation holds it.
            RunTimedOut: The run's deadline has passed.
        """
        thread.context_digest = None  # until it is known that both stand there
        caps = await self._admit(thread, run)
        try:
            await self._add(thread, run, content, reply.text)
        except OutcomeUnknown:
            raise
        except RunFailed:
            await self._end(thread, run, None)
            return False
        await self._end(thread, run, reply)
        run.text, run.cached, run.status, run.input = reply.text, True, "completed", []
        run.answers += 1
        run.message_counted = True
        await self._budgets.look(thread, run, caps)
        return True

    async def _add(self, thread: ThreadState, run: RunState, content: Any, text: str) -> None:
        """Put the message and the reply into the conversation."""
        if thread.generation_id is None:
            # By its name a turn is asked for again, and then its reply is looked up as an item that was added.
            if isinstance(content, str) and run.key is None:
                await self._rotation.begin(thread, run, [user_message(content), assistant_message(text)])
                return
            await self._rotation.begin(thread, run)
            await self._note_generation(thread, run)
        items = [run.input[0], {"type": "message", "role": "assistant", "content": text}]
        thread.last_item_id = await self._append(thread, run, items)
        thread.seed_items, thread.adopted = None, False
        for item in items:
            size = tokens.estimate(text_of(item), run.model) + framing(1)
            thread.context_tokens += size.tokens
            thread.context_at_most += size.at_most

    async def _note_generation(self, thread: ThreadState, run: RunState) -> None:
        """Save in which conversation another process would find what is added now, should this one die."""
        states, sent = self._session.states, run.in_flight
        if sent is not None:
            sent.generation_id = thread.generation_id
            await self._driver.blocking(lambda: states.save(thread, run), at_once=states.in_process)

    async def _append(self, thread: ThreadState, run: RunState, items: Sequence[Mapping[str, Any]]) -> str | None:
        """Append items; where the connection is lost, look what of them arrived before sending the rest."""
        backend, generation_id, left = self._steady.backend, thread.generation_id, items
        assert generation_id is not None
        for tries_left in reversed(range(_TRIES)):
            try:
                return await self._steady.call(
                    thread,
                    lambda timeout: backend.add_messages(generation_id, left, timeout),  # noqa: B023 - called at once
                    run,
                    repeatable=False,
                )
            except OutcomeUnknown:
                if not tries_left:
                    raise
                newest = await self._steady.call(
                    thread, lambda timeout: backend.history(generation_id, timeout, limit=_TAIL), run
                )
                seed_items = thread.seed_items if len(newest) < _TAIL else None
                marks = [mark_of(items[0])]
                there = plan_repair(newest, marks, thread.last_item_id, seed_items=seed_items).left_behind
                if there >= len(items):
                    return newest[0].id
                left = items[there:]
        raise AssertionError("a loop that ends by returning or raising")


def _has_room(standing: Standing) -> bool:
    cap, balance = standing.placed.cap, standing.balance
    return cap.limit - balance.committed - balance.held >= 1
