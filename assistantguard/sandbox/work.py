"""The making of one response: what it shows meanwhile, what it costs, and what it leaves however it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assistantguard.sandbox.billing import BilledCall, PromptCache, writes_are_billed
from assistantguard.sandbox.documents import new_document, tier_of, usage_of
from assistantguard.sandbox.emission import ON_AND_ON, Emission
from assistantguard.sandbox.output import Output, make_output
from assistantguard.sandbox.script import Answer
from assistantguard.sandbox.state import Chain, StoredResponse
from assistantguard.sandbox.waiting import EventLog, Signal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from assistantguard.sandbox.billing import Billing
    from assistantguard.sandbox.conduct import After
    from assistantguard.sandbox.context import Context
    from assistantguard.sandbox.state import Item, State
    from assistantguard.sandbox.vector_stores import VectorStores

__all__ = ["Shop", "Work"]

_ENDLESS_PACE = 0.01
_KEEP_ALIVE_PACE = 0.05
_NOTHING = Output(
    items=[],
    status="cancelled",
    incomplete_reason=None,
    tokens=0,
    reasoning_tokens=0,
    injected_tokens=0,
    file_searches=0,
)


def _as_it_is(answer: Answer) -> Answer:
    return answer


@dataclass(frozen=True, slots=True, eq=False)
class Shop:
    """What all work shares."""

    state: State
    billing: Billing
    cache: PromptCache
    stores: VectorStores


class Work:
    """One response in the making. It locks its conversation until it has ended.

    Args:
        shop: What all work shares.
        context: What stands before the model.
        background: Whether it was asked for in the background.
        streamed: Whether it was asked for as a stream.
        batch_id: The batch it is a line of; None where it is none's.
        window: The completion window it waits for; None where it begins at once.
    """

    def __init__(
        self,
        shop: Shop,
        context: Context,
        *,
        background: bool,
        streamed: bool,
        batch_id: str | None = None,
        window: str | None = None,
    ) -> None:
        self._shop = shop
        self.context = context
        self.background = background
        self._batch_id = batch_id
        self._window = window
        self.id = shop.state.ids.make("resp_")
        self.signal = Signal()
        """Stops it."""
        self.ended = False
        """Nothing changes any more but what is told late."""
        self.change: Callable[[Answer], Answer] = _as_it_is
        """What a fault makes of the model's answer."""
        self.log = EventLog() if background and streamed else None
        self.document = new_document(context, self.id, background=background, started=shop.state.now())
        """The response as it stands."""
        self._answer = Answer()
        self._row: BilledCall | None = None
        self._cached = (0, 0)
        self._emission: Emission | None = None
        self._last = -1
        self._late = 0
        self._stored: StoredResponse | None = None
        if context.conversation is not None:
            context.conversation.active = True
        if background:
            self._store()

    @property
    def answer(self) -> Answer:
        """What the model says."""
        return self._answer

    @property
    def takes_time(self) -> bool:
        """Whether it waits for anything once it has begun."""
        conduct = self._answer.conduct
        return bool(self._answer.delay or self._answer.pace or conduct.stuck or conduct.endless)

    @property
    def next_number(self) -> int:
        """The sequence number of the next event."""
        return self._last + 1

    def unsay(self, event: dict[str, Any]) -> None:
        """Give the number of the last event, which was not sent, to the next one."""
        self._last = event["sequence_number"] - 1

    def is_last_item(self, event: dict[str, Any]) -> bool:
        """Whether an event ends the last item of the output; only the response's own end follows."""
        items = () if self._emission is None else self._emission.output.items
        return bool(event["type"] == "response.output_item.done" and event["output_index"] == len(items) - 1)

    @property
    def begun(self) -> bool:
        """Whether the model works on it; from then on it is billed."""
        return self._row is not None

    def begin(self, answer: Answer) -> None:
        """Open the row of the bill: the model has read its input."""
        answer = self.change(answer)
        if answer.conduct.endless == "deltas":
            room = self.context.body.get("max_output_tokens")
            text = (answer.text or "On") + ON_AND_ON * (room or 0)
            answer = replace(answer, text=text, tool_calls=(), status="completed")
        self._answer = answer
        billed = answer.billed
        cached = written = 0
        context = self.context
        explicit = context.body.get("prompt_cache_options", {}).get("mode") == "explicit"
        if billed and not explicit:
            cached = PromptCache.rounded(self._shop.cache.read(context.model, context.segments()))
            if writes_are_billed(context.model):
                written = max(0, PromptCache.rounded(context.tokens) - cached)
        self._row = BilledCall(
            response_id=self.id,
            conversation_id=context.conversation_id,
            model=context.model,
            status="in_progress",
            input_tokens=context.tokens if billed else 0,
            cached_tokens=cached,
            cache_write_tokens=written,
            output_tokens=0,
            reasoning_tokens=0,
            file_searches=0,
            service_tier=tier_of(context.body) if self._batch_id is None else "batch",
            batch_id=self._batch_id,
            completion_window=self._window,
            billed=billed,
            usage_reported=False,
        )
        self._cached = cached, written
        self._shop.billing.begin(self._row)

    async def run(self, *, told: bool) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Do the work to its end and yield its events; None is a comment that keeps the connection alive.

        Args:
            told: Whether anyone reads the events. Where no one does, those between the first and the last are left
                out, unless the answer has a pace.

        Raises:
            Stopped: It was stopped; `halt` then settles it.
        """
        answer = self._answer
        conduct = answer.conduct
        yield self.event("response.created", response=self.document)
        if self.background:
            yield self.event("response.queued", response=self.document)
        if conduct.stuck == "queued":
            await self.signal.wait(None)
        self._show(status="in_progress")
        yield self.event("response.in_progress", response=self.document)
        if conduct.stuck == "in_progress":
            await self.signal.wait(None)
        if answer.delay:
            await self.signal.wait(answer.delay)
        while conduct.endless == "comments":
            yield None
            await self.signal.wait(answer.pace or _KEEP_ALIVE_PACE)
        emission = self._emission = self._emit()
        if told or answer.pace or conduct.endless:
            pace = answer.pace or (_ENDLESS_PACE if conduct.endless else 0.0)
            between = False
            for event, is_delta in emission.events():
                if is_delta and pace and between:
                    await self.signal.wait(pace)
                between = between or is_delta
                yield self.event(event.pop("type"), **event)
        self.signal.check()
        self._settle(
            emission.output,
            usage=answer.usage_reported,
            appended=emission.output.status in {"completed", "incomplete"},
        )
        if self.document["status"] != "cancelled":
            yield self.event(f"response.{self.document['status']}", response=self.document)

    def _emit(self) -> Emission:
        body = self.context.body
        shop = self._shop
        output = make_output(self._answer, body, shop.state.ids, shop.stores.find)
        endless = self._answer.conduct.endless == "deltas" and output.status != "incomplete"
        return Emission(output, body.get("include", ()), endless=endless)

    def event(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        """Return an event with the next sequence number."""
        self._last += 1
        return {"type": kind, "sequence_number": self._last, **fields}

    def halt(self) -> None:
        """Settle what was stopped before its end: billed for what was made, status ``cancelled``."""
        if self.ended:
            return
        if self._row is None:
            self.begin(self._answer if self._window is None else replace(self._answer, billed=False))
        conduct = self._answer.conduct
        made = _NOTHING if self._emission is None else self._emission.so_far()
        self._settle(
            made, usage=conduct.stopped_usage, appended=conduct.stopped_appended, billed=conduct.stopped_billed
        )

    def fail(self, code: str, message: str, *, usage: bool = True) -> None:
        """Settle it as failed, with what was made until now."""
        if self.ended:
            return
        self._answer = replace(self._answer, status="failed", error_code=code, error_message=message)
        made = _NOTHING if self._emission is None else self._emission.so_far()
        self._settle(replace(made, status="failed"), usage=usage, appended=False)

    def abandon(self) -> None:
        """Let go of the conversation where the model never began."""
        if self.begun:
            self.halt()
        elif not self.ended:
            self.ended = True
            self._unlock()

    def _settle(self, made: Output, *, usage: bool, appended: bool, billed: bool = True) -> None:
        self.ended = True
        row = self._row
        if row is not None:
            self._book(row, made, billed=billed and row.billed)
        late = self._answer.conduct.usage_after
        self._conclude(made, usage=usage and late is None)
        wanted = self._answer.appended
        if appended if wanted is None else wanted:
            self._append(made.items)
        self._unlock()
        self._store()
        if self._stored is not None:
            self._stored.context = Chain(self._stored.inputs, made.items)
        if self.log is not None:
            self.log.end()
        if late is not None:
            self._later(late, self._tell_usage)
        if made.status == "cancelled" and self._answer.conduct.completes_after_cancel is not None:
            self._later(self._answer.conduct.completes_after_cancel, self._complete_after_all)
        if row is not None and not self._late:
            self._shop.billing.end(row)

    def _book(self, row: BilledCall, made: Output, *, billed: bool) -> None:
        row.status = made.status
        row.billed = billed
        if billed:
            row.input_tokens = self.context.tokens + made.injected_tokens
            row.cached_tokens, row.cache_write_tokens = self._cached
            row.output_tokens = made.tokens
            row.reasoning_tokens = made.reasoning_tokens
            row.file_searches = made.file_searches
        else:
            row.input_tokens = row.cached_tokens = row.cache_write_tokens = 0

    def _conclude(self, made: Output, *, usage: bool) -> None:
        answer = self._answer
        failed = made.status == "failed"
        self._show(
            status=made.status,
            completed_at=int(self._shop.state.now()) if made.status == "completed" else None,
            error={"code": answer.error_code, "message": answer.error_message} if failed else None,
            incomplete_details={"reason": made.incomplete_reason} if made.status == "incomplete" else None,
            output=made.shown(self.context.body.get("include", ())),
        )
        if usage:
            self._tell_usage()

    def _tell_usage(self) -> None:
        if self._row is not None:
            self._row.usage_reported = True
            self._show(usage=usage_of(self._row))

    def _complete_after_all(self) -> None:
        row = self._row
        assert row is not None
        output = (self._emission or self._emit()).output
        self._book(row, output, billed=self._answer.billed)
        self._conclude(output, usage=True)
        self._append(output.items)
        if self._stored is not None:
            self._stored.context = Chain(self._stored.inputs, output.items)

    def _show(self, **changes: Any) -> None:
        self.document = {**self.document, **changes}
        if self._stored is not None:
            self._stored.document = self.document

    def _append(self, items: list[Item]) -> None:
        conversation = self.context.conversation
        if conversation is not None and conversation.id in self._shop.state.conversations:
            conversation.append([*self.context.inputs, *items])

    def _unlock(self) -> None:
        if self.context.conversation is not None:
            self.context.conversation.active = False

    def _store(self) -> None:
        if self._stored is None and self.context.body.get("store", True):
            inputs = Chain(self.context.chain, self.context.inputs)
            self._stored = StoredResponse(self.document, inputs, inputs, log=self.log, background=self.background)
            self._shop.state.store(self._stored)

    def _later(self, moment: After, happen: Callable[[], None]) -> None:
        def come() -> None:
            happen()
            forget()

        def forget() -> None:
            self._late -= 1
            if self._row is not None and not self._late:
                self._shop.billing.end(self._row)

        self._late += 1
        self._shop.state.later(self.id, moment, come, forget)
