"""Moving a thread into a new generation, with what it needs next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from assistantguard import events, tokens
from assistantguard.engine.admission import framing
from assistantguard.engine.healing import plan_repair
from assistantguard.engine.ports import GenerationFate, ModelRequest
from assistantguard.errors import BudgetExceeded, Refused, RunFailed, RunTimedOut
from assistantguard.models import Item
from assistantguard.models.carry_over import CarryOver
from assistantguard.policies.base import run_account
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.engine.exchanges import Exchanges
    from assistantguard.engine.steady import Steady
    from assistantguard.models import RunState, ThreadState
    from assistantguard.policies import Rotate

__all__ = ["Rotation", "has_outgrown"]

Fate = Literal["deleted", "scrubbed", "kept", "gone", "undeleted"]
_ENDS: Mapping[str, GenerationFate] = {"deleted": "deleted", "scrubbed": "deleted", "kept": "kept"}


class Rotation:
    """Begins generations."""

    def __init__(self, exchanges: Exchanges, steady: Steady) -> None:
        self._exchanges = exchanges
        self._steady = steady
        self._session = steady.session
        self._driver = steady.driver
        self._backend = steady.backend
        self.context_of: Callable[[Sequence[Item]], str] | None = None
        """Makes the digest of what a generation begins with, where somebody needs it."""

    async def begin(self, thread: ThreadState, run: RunState, seeds: Sequence[Item] = ()) -> None:
        """Give a thread that has no generation its first one, which begins with `seeds`."""
        generation_id = await self._create(thread, run, seeds)
        self._enter(thread, generation_id, seeds, run.model)
        await self._save(thread, run, generation_id)

    async def rotate(
        self,
        thread: ThreadState,
        run: RunState,
        decision: Rotate,
        policy: str,
        *,
        readable: bool = True,
        other: ThreadState | None = None,
    ) -> None:
        """Leave the generation for a new one that holds the carry-over.

        Nothing of the old generation is deleted before the new one is made. A summary that could not be had is left
        out: the digest stands without it.

        Args:
            thread: Whose generation it is.
            run: The run that it happens in; a summary is booked on it.
            decision: What to carry, and what to do with the old generation.
            policy: Who decided.
            readable: False where the old generation is gone, so that nothing can be carried.
            other: A thread whose carry-over goes ahead of its own.

        Raises:
            RunFailed: The server refused.
        """
        old_id = thread.generation_id
        turns, context = thread.generation_turns, thread.context_tokens
        reason = decision.reason
        seeds: Sequence[Item] = ()
        if readable and old_id is not None:
            seeds, trouble = await self._carried(thread, run, decision, old_id)
            reason += trouble
        if other is not None:
            seeds, trouble = await self._joined(other, run, decision, seeds)
            reason += trouble
        generation_id = await self._create(thread, run, seeds)
        carried = self._enter(thread, generation_id, seeds, run.model)
        await self._save(thread, run, generation_id)
        fate: Fate = "undeleted"
        try:
            fate = await self._leave(old_id, decision, run, readable=readable)
            if old_id is not None and fate in _ENDS:
                await self._save(thread, run, old_id, _ENDS[fate])
        finally:
            session = self._session
            session.emit(
                events.ThreadRotated(
                    self._driver.now(),
                    session.id,
                    thread.id,
                    thread.generation,
                    old_id,
                    generation_id,
                    turns,
                    context,
                    carried.tokens,
                    len(seeds),
                    fate,
                    policy,
                    reason,
                )
            )

    async def _carried(
        self, thread: ThreadState, run: RunState, decision: Rotate, generation_id: str
    ) -> tuple[Sequence[Item], str]:
        """What a thread's generation leaves for the next one, without a half turn; and a remark. See `_carry`."""
        newest_first = await self._steady.call(
            thread, lambda timeout: self._backend.history(generation_id, timeout), run
        )
        half_turn = plan_repair(
            newest_first, thread.unsettled, thread.last_item_id, seed_items=thread.seed_items
        ).left_behind
        return await self._carry(thread, run, newest_first[half_turn:][::-1], decision)

    async def _joined(
        self, other: ThreadState, run: RunState, decision: Rotate, seeds: Sequence[Item]
    ) -> tuple[Sequence[Item], str]:
        """`seeds` behind what another thread leaves; and a remark. A conversation that is gone leaves nothing."""
        from assistantguard.carryover import join_carry_overs

        if other.generation_id is None:
            return seeds, ""
        try:
            ahead, trouble = await self._carried(other, run, decision, other.generation_id)
        except RunFailed as error:
            if error.failure is None or error.failure.mend != "new_generation":
                raise
            return seeds, f"; the conversation of {other.id} is gone"
        return join_carry_overs([ahead, seeds]), trouble

    async def _carry(
        self, thread: ThreadState, run: RunState, items: list[Item], decision: Rotate
    ) -> tuple[Sequence[Item], str]:
        """The items that the new generation starts with, and a remark where something was left out."""
        from assistantguard.carryover import build_carry_over

        model = run.model
        settings = decision.carry_over
        if settings is not None and not isinstance(settings, CarryOver):
            return list(settings(items)), ""
        settings = settings or CarryOver()
        summary, trouble = None, ""
        if settings.summary_model is not None and items:
            summary, trouble = await self._summarise(thread, run, items, settings)

        def count(text: str) -> int:
            return tokens.estimate(text, model).tokens

        seeds = await self._driver.blocking(
            lambda: build_carry_over(items, settings, count, summary, first=thread.generation <= 1),
            at_once=len(items) < 60,
        )
        return seeds, trouble

    async def _summarise(
        self, thread: ThreadState, run: RunState, items: list[Item], settings: CarryOver
    ) -> tuple[str | None, str]:
        from assistantguard.carryover import summary_prompt

        assert settings.summary_model is not None
        instructions, text = summary_prompt(items, settings)
        request = ModelRequest(
            settings.summary_model,
            None,
            instructions,
            [{"type": "message", "role": "user", "content": text}],
            max_output_tokens=settings.summary_tokens,
            client_request_id=f"{run.id}-summary",
        )
        try:
            outcome = await self._exchanges.ask(thread, run, request, "", "summary")
        except (Refused, RunFailed) as error:
            return None, f"; no summary ({type(error).__name__})"
        if outcome.answer is None or outcome.failure is not None or not outcome.answer.text:
            kind = outcome.failure.kind if outcome.failure is not None else "empty"
            return None, f"; no summary ({kind})"
        return outcome.answer.text, ""

    async def _create(self, thread: ThreadState, run: RunState, seeds: Sequence[Item]) -> str:
        metadata = {"assistantguard_thread": thread.id}
        return await self._steady.call(
            thread, lambda timeout: self._backend.create_generation(seeds, metadata, timeout), run
        )

    async def _save(
        self, thread: ThreadState, run: RunState, generation_id: str, became: GenerationFate = "begun"
    ) -> None:
        """Save that a conversation was begun, before the one that it follows is left; or what became of that one."""
        states = self._session.states

        def save() -> None:
            with states.together():
                states.note_generation(thread, generation_id, became)
                states.save(thread, run)

        await self._driver.blocking(save, at_once=states.in_process)

    async def _leave(self, old_id: str | None, decision: Rotate, run: RunState, *, readable: bool) -> Fate:
        if old_id is None or not readable:
            return "gone"
        if decision.old == "keep":
            return "kept"
        try:
            limit = self._steady.limit(run)
            await self._backend.delete_generation(old_id, scrub=decision.old == "scrub", timeout=limit)
        except RunTimedOut:
            return "undeleted"
        except Exception as error:
            if self._backend.classify(error) is None:
                raise
            return "undeleted"
        return "scrubbed" if decision.old == "scrub" else "deleted"

    def _enter(self, thread: ThreadState, generation_id: str, seeds: Sequence[Item], model: str) -> Estimate:
        """Note that the thread is in a generation that begins with `seeds`; return what those are for the context."""
        carried = Estimate(0, 0, exact=True)
        for item in seeds:
            carried += tokens.estimate(item.text, model) + framing(1)
        thread.generation += 1
        thread.generation_id = generation_id
        thread.generation_started_at = self._driver.now()
        thread.generation_turns = 0
        thread.context_tokens = carried.tokens
        thread.context_at_most = carried.at_most
        thread.context_known = False
        thread.read_by = {}
        thread.last_item_id = None
        thread.seed_items = len(seeds)
        thread.context_digest = None if self.context_of is None else self.context_of(seeds)
        thread.adopted = False
        thread.unsettled = []
        thread.strays = []
        thread.at_work = None
        thread.locked = False
        thread.suspect = False
        thread.backlog = []
        return carried


def has_outgrown(thread: ThreadState, run: RunState, error: BudgetExceeded) -> bool:
    """Whether a run's cap refuses its very first request, for a context that a rotation makes smaller."""
    first = not run.answers and not error.committed and error.account == run_account(run)
    fresh = not thread.context_known and thread.last_item_id is None
    return first and not fresh
