"""Turns that are answered out of a cache of replies, and turns whose replies are put there.

Nothing in here fails a turn for the cache's sake: what goes wrong with it is told in an event, and the turn goes on.
What is done to the conversation and the books is done as for any other turn, and fails as there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from assistantguard.engine.input import message_text, model_request
from assistantguard.engine.ports import ModelRequest
from assistantguard.engine.serving import Serving
from assistantguard.errors import ConfigurationError, Refused
from assistantguard.models import Assistant
from assistantguard.models.cached import CachedQuestion, CachedReply
from assistantguard.models.values import Record
from assistantguard.policies.ruling import Observed
from assistantguard.replies import open_store
from assistantguard.replies.flights import Flight, Flights
from assistantguard.replies.keys import (
    EMPTY,
    Question,
    account_of,
    context_after,
    context_of,
    digest,
    normalised,
    question_of,
    text_of_question,
)
from assistantguard.reply_events import ReplyCached, ReplyCacheFailed, ReplyStored

if TYPE_CHECKING:
    from assistantguard.engine.admission import Admission
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.exchange import Outcome
    from assistantguard.engine.ports import ModelAnswer
    from assistantguard.engine.rotation import Rotation
    from assistantguard.engine.steady import Steady
    from assistantguard.models import RunState, ThreadState, Usage
    from assistantguard.policies.reply_cache import ReplyCache

__all__ = ["Cached"]

T = TypeVar("T")
_CLAIM_SECONDS = 60.0
"""How long others wait for one who asks, if nothing more is heard of it."""
_FAILED_LEADERS = 2
"""After so many who asked in vain, one who waited goes on by itself: they would all wait one after the other."""
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1
_OUT_OF_ORDER = 5.0
"""Seconds for which a store that failed is left alone."""
_CANDIDATES = 100
_SAME_FOR_ALL = frozenset(
    {
        "assistant",
        "background",
        "cache_key",
        "client_request_id",
        "generation_id",
        "input",
        "instructions",
        "max_tool_calls",
        "metadata",
        "tools",
    }
)
"""What of a request does not tell how it is answered, or is looked at elsewhere."""
_NO_SETTINGS = frozenset({"instructions", "metadata", "model", "name", "tools"})
"""Likewise, of an assistant."""
_PLAIN = frozenset({"message", "reasoning"})
"""The items of an answer for which no tool was used."""


@dataclass(slots=True, eq=False, repr=False)
class _Asked(Record):
    """A question that the cache may answer, until its turn is over."""

    key: str
    group: str
    text: str | None
    """The question where it is nothing but text."""
    question: Question
    content: Any
    """The message, exactly."""
    context: str
    generation: int
    """In which generation it is asked."""
    usage: Usage
    """What the run had used before."""
    cost: Decimal | None
    owner: str
    flight: Flight | None = None
    """Where others in this process wait for it."""
    claimed: bool = False
    """Whether others that share the store wait for it."""
    requests: int = 0
    plain: bool = True
    """Whether no tool was used so far."""
    doubt: bool = False
    """Whether an attempt may have left something in the conversation."""


class Cached:
    """Answers turns out of a cache, and fills it. One serves all threads of an engine.

    Args:
        asking: The policies.
        steady: Unpaid calls.
        rotation: Begins conversations.
        admission: Says why a message does not fit a budget.

    Raises:
        ConfigurationError: There is more than one cache, or its store cannot be had.
    """

    def __init__(self, asking: Asking, steady: Steady, rotation: Rotation, admission: Admission) -> None:
        self._session = session = asking.session
        self._driver = asking.driver
        self._asking = asking
        self._rotation = rotation
        self._serving = Serving(asking, steady, rotation, admission)
        found = [policy for policy in session.policies.policies if policy.keeps_replies]
        if len(found) > 1:
            raise ConfigurationError("policies has ReplyCache twice: leave one out")
        self._observed = isinstance(found[0], Observed)
        self._policy: ReplyCache = found[0].policy if isinstance(found[0], Observed) else found[0]  # type: ignore[assignment]
        self._store = open_store(self._policy.store, session.ledger)
        self._flights = Flights()
        self._asked: dict[str, _Asked] = {}
        """By run."""
        self._out_until = 0.0
        self._settings: tuple[Assistant | None, Any, str, str] | None = None
        rotation.context_of = context_of

    async def answer(self, thread: ThreadState, run: RunState) -> bool:
        """Answer a run's message where the cache can; the run is completed then, but for what follows any turn.

        Else the run goes on, and its thread has a conversation.

        Raises:
            Refused: A budget has no message left.
            RunFailed: It is not known whether the message was added to the conversation.
            RunTimedOut: The run's deadline has passed.
        """
        asked = self._question(thread, run)
        if asked is not None:
            self._asked[run.id] = asked
            found = await self._found(asked, run)
            if found is not None and found[0].text and await self._serve(thread, run, asked, *found):
                return True
        if thread.generation_id is None:
            await self._rotation.begin(thread, run)
        if asked is not None:
            asked.generation = thread.generation
        thread.context_digest = None
        return False

    def saw(self, run: RunState, outcome: Outcome | None) -> None:
        """Note what came of a request of a run."""
        asked = self._asked.get(run.id)
        if asked is None or outcome is None:
            return
        asked.requests += 1
        failure, answer = outcome.failure, outcome.answer
        if failure is not None:
            asked.doubt = asked.doubt or answer is not None or failure.status_code is None
            asked.doubt = asked.doubt or failure.kind in {"ambiguous", "structural"}
        elif answer is not None and not _is_plain(answer, self._session.tools):
            asked.plain = False

    def conclude(self, thread: ThreadState, run: RunState) -> Callable[[], Awaitable[None]] | None:
        """Note what the conversation holds after a run that has ended well, and tell those who wait for its reply.

        Returns:
            What is left to do with the store, when the turn is saved; None for nothing.
        """
        asked = self._asked.pop(run.id, None)
        if asked is None:
            return None
        said = context_after(asked.context, asked.question, run.text)
        if run.cached:
            thread.context_digest = said
            release = self._ending(asked)
            return None if release is None else partial(self._do, "release", release, None)
        certain = run.status == "completed" and not (asked.doubt or run.mends or thread.strays)
        certain = certain and bool(run.text) and thread.generation == asked.generation
        plain = asked.plain and not run.steps
        if certain and plain:
            thread.context_digest = said
        kept = certain and (plain or self._policy.tools) and len(run.text) <= self._policy.max_characters
        waited_for = asked.flight is not None or asked.claimed
        reply = self._reply(thread, run, asked, kept=kept)
        release = self._ending(asked, reply)
        if kept or waited_for:
            return lambda: self._keep(thread.id, run.id, reply, release)
        return None

    async def _keep(self, thread_id: str, run_id: str, reply: CachedReply, release: Callable[[], None] | None) -> None:
        store, most, session = self._store, self._policy.max_entries, self._session

        def keep() -> bool:
            store.put(reply, most)
            if release is not None:
                release()
            return True

        if await self._do("put", keep, otherwise=False) and reply.text:
            stored = (run_id, reply.model, len(reply.text), reply.expires_at)
            session.emit(ReplyStored(reply.stored_at, session.id, thread_id, *stored))

    async def give_up(self, thread: ThreadState, run: RunState, cause: BaseException) -> None:
        """A run did not end well: somebody else may ask. Where nothing was sent, the conversation is what it was."""
        asked = self._asked.pop(run.id, None)
        if asked is None:
            return
        unsent = isinstance(cause, (Refused, ConfigurationError)) and not asked.requests
        if unsent and not run.retries and thread.generation == asked.generation and not thread.suspect:
            thread.context_digest = asked.context
        end = self._ending(asked)
        if end is not None:
            await self._do("release", end, None)

    async def forget(self, thread_id: str) -> None:
        """Delete the replies that were given on a thread."""
        await self._do("forget", lambda: self._store.forget(thread_id), 0)

    def close(self) -> None:
        """Close the store's connections. May block."""
        self._store.close()

    def _question(self, thread: ThreadState, run: RunState) -> _Asked | None:
        """The question of a run; None where it has no part in the cache."""
        context = EMPTY if thread.generation_id is None else thread.context_digest
        if context is None or thread.suspect or thread.backlog or thread.file_ids or thread.vector_store_id is not None:
            return None
        if len(run.input) != 1 or run.input[0].get("role") != "user" or run.answers:
            return None
        policy, content = self._policy, run.input[0].get("content", "")
        try:
            if callable(policy.scope):
                named = policy.scope(self._asking.view(thread, run, message_text(content), run.model))
                account: list[str | None] = ["named", named]
                if named is None:
                    return None
            else:
                account = account_of(policy.scope, thread)
            question = question_of(content, policy.normalise or normalised)
            group = digest(account, self._assistant(model_request(thread, run, self._session)), context)
            key = digest(group, question)
        except Exception as error:  # noqa: BLE001 - a user's function, or a setting that is no JSON
            self._failed("ask", error)
            return None
        text = text_of_question(question)
        return _Asked(key, group, text, question, content, context, thread.generation, run.usage, run.cost, run.id)

    def _assistant(self, request: ModelRequest) -> list[Any]:
        """All that a request says beside its input."""
        known = self._settings
        same = known is not None and known[0] is request.assistant and known[1] is request.tools
        if not same or known is None or known[2] is not request.instructions:
            settings = digest(request.instructions, list(request.tools), _settings_of(request.assistant))
            known = self._settings = (request.assistant, request.tools, request.instructions, settings)
        return [known[3], _REQUEST(request)]

    async def _found(self, asked: _Asked, run: RunState) -> tuple[CachedReply, str] | None:
        """A reply, and how it was found. Where there is none, the caller asks, and others may wait for it."""
        reply = await self._get(asked)
        if reply is not None:
            return reply, "exact"
        similar = self._policy.similar
        if similar is not None and asked.text is not None:
            reply = await self._similar(similar, asked, asked.text)
            if reply is not None:
                return reply, "similar"
        if not self._policy.single_flight or self._observed:
            return None
        reply = await self._wait(asked, run)
        return None if reply is None else (reply, "shared")

    async def _wait(self, asked: _Asked, run: RunState) -> CachedReply | None:
        """Wait for the one who asks the same already; None where the caller is to ask."""
        now, pause = self._driver.now(), _FIRST_PAUSE
        deadline = float("inf") if run.deadline is None else run.deadline
        leaders = 0
        flight, leads = self._flights.join(asked.key, now, now + _CLAIM_SECONDS)
        while not leads:
            while not flight.ended and (now := self._driver.now()) < min(flight.until, deadline):
                await self._driver.sleep(min(pause, max(0.0, deadline - now)))
                pause = min(1.5 * pause, _LONGEST_PAUSE)
            if flight.reply is not None or self._driver.now() >= deadline:
                return flight.reply
            leaders += 1
            if leaders >= _FAILED_LEADERS:
                return None
            now = self._driver.now()
            flight, leads = self._flights.join(asked.key, now, now + _CLAIM_SECONDS)
        asked.flight = flight
        while True:
            now = self._driver.now()
            flight.until = now + _CLAIM_SECONDS
            asked.claimed = await self._claim(asked, now, flight.until)
            reply = await self._get(asked)  # another may have been quicker since the store was looked at
            if reply is not None or asked.claimed or self._driver.now() >= deadline:
                return reply
            await self._driver.sleep(min(pause, max(0.0, deadline - now)))
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    async def _claim(self, asked: _Asked, now: float, until: float) -> bool:
        store, key, owner = self._store, asked.key, asked.owner
        return await self._do("claim", lambda: store.claim(key, owner, now, until), otherwise=True)

    async def _get(self, asked: _Asked) -> CachedReply | None:
        now = self._driver.now()
        return await self._do("get", lambda: self._store.get(asked.key, now), None)

    async def _similar(self, similar: Any, asked: _Asked, text: str) -> CachedReply | None:
        now = self._driver.now()

        def choose() -> CachedReply | None:
            replies = {reply.key: reply for reply in self._store.of_group(asked.group, now, _CANDIDATES)}
            if not replies:
                return None
            questions = [CachedQuestion(reply.question, reply.key, reply.stored_at) for reply in replies.values()]
            chosen = similar(text, questions)
            if chosen is None:
                return None
            if not isinstance(chosen, CachedQuestion) or chosen.key not in replies:
                raise TypeError(f"similar returned {type(chosen).__name__}, which is none of the questions")
            return replies[chosen.key]

        return await self._do("similar", choose, None, at_once=False)

    async def _serve(self, thread: ThreadState, run: RunState, asked: _Asked, reply: CachedReply, how: Any) -> bool:
        """Make a cached reply the turn's; return False where the conversation does not take it."""
        now, session = self._driver.now(), self._session
        if self._observed:
            view = self._asking.view(thread, run, "", run.model)
            self._asking.report(view, self._policy.name, "before_turn", "answer", "the reply is in the cache")
            return False
        if not await self._serving.serve(thread, run, asked.content, reply):
            return False
        session.emit(
            ReplyCached(
                now,
                session.id,
                thread.id,
                run.id,
                run.model,
                how,
                max(0.0, now - reply.stored_at),
                reply.usage,
                reply.cost,
                thread.user,
            )
        )
        return True

    def _reply(self, thread: ThreadState, run: RunState, asked: _Asked, *, kept: bool) -> CachedReply:
        """What is kept of a turn; a reply that is not is kept as empty for as long as somebody may wait for it."""
        now, policy = self._driver.now(), self._policy
        cost = None if run.cost is None or asked.cost is None else run.cost - asked.cost
        return CachedReply(
            asked.key,
            asked.group,
            thread.id,
            run.text if kept else "",
            run.model,
            run.usage - asked.usage,
            cost,
            now,
            now + (policy.lifetime if kept else min(policy.lifetime, _CLAIM_SECONDS)),
            asked.text or "" if kept and policy.similar is not None else "",
        )

    def _ending(self, asked: _Asked, reply: CachedReply | None = None) -> Callable[[], None] | None:
        """End what others wait for, in this process at once; what is left is to be done with the store."""
        if asked.flight is not None:
            self._flights.end(asked.key, asked.flight, reply)
            asked.flight = None
        if not asked.claimed:
            return None
        asked.claimed = False
        return lambda: self._store.release(asked.key, asked.owner)

    async def _do(self, operation: str, work: Callable[[], T], otherwise: T, *, at_once: bool | None = None) -> T:
        """Ask the store; `otherwise` where it is out of order."""
        if self._driver.now() < self._out_until:
            return otherwise
        try:
            if self._store.in_process if at_once is None else at_once:
                return work()
            return await self._driver.blocking(work, at_once=False)
        except Exception as error:  # noqa: BLE001 - a cache fails no turn
            if operation != "similar":
                self._out_until = self._driver.now() + _OUT_OF_ORDER
            self._failed(operation, error)
            return otherwise

    def _failed(self, operation: str, error: Exception) -> None:
        session = self._session
        session.emit(ReplyCacheFailed(self._driver.now(), session.id, "", operation, type(error).__name__))


def _is_plain(answer: ModelAnswer, tools: Any) -> bool:
    """Whether an answer is nothing but what the model said."""
    if answer.tool_calls or answer.builtin_calls:
        return False
    if not answer.output:  # this server does not tell
        return not tools or all(tool.get("type") == "function" for tool in tools)
    return all(_field(item, "type") in _PLAIN and not _refuses(item) for item in answer.output)


def _refuses(item: Any) -> bool:
    parts = _field(item, "content")
    return isinstance(parts, list) and any(_field(part, "type") == "refusal" for part in parts)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _settings_of(assistant: Assistant | None) -> list[Any]:
    return [] if assistant is None else [*map(_jsonable, _ASSISTANT(assistant))]


def _jsonable(value: Any) -> Any:
    return dict(value) if hasattr(value, "keys") else value


_REQUEST: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(ModelRequest) if field.name not in _SAME_FOR_ALL)
)
_ASSISTANT: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(Assistant) if field.name not in _NO_SETTINGS)
)
