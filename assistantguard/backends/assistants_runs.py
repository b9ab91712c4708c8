"""Following, reading and ending runs on an Assistants server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import openai

from assistantguard.backends.assistants_reading import (
    ENDED,
    Rounds,
    answer_of_run,
    messages_of_run,
    pending_calls,
    status_of,
)
from assistantguard.backends.assistants_requests import REQUEST_KEY, CapTooSmallError
from assistantguard.backends.assistants_routes import Routes, path_of, request_id_of
from assistantguard.backends.port import HttpAnswer
from assistantguard.backends.problems import failure_of
from assistantguard.backends.reading import get
from assistantguard.engine.healing import UNANSWERED
from assistantguard.engine.ports import ModelAnswer

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort
    from assistantguard.engine.ports import Driver
    from assistantguard.models import Failure

__all__ = ["NOT_THERE", "NotTakenUpError", "Runs", "classify_assistants", "is_ours"]

NOT_THERE = frozenset({404, 405, 501})
"""What servers answer that do not have a route."""
_KNOWN = ENDED | {"queued", "in_progress", "requires_action", "cancelling"}
_LOCKED = r"can't add messages to \S+ while a run|already has an active run|while a run \S* ?is active"
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_PAUSE_GROWTH = 1.5
_LONGEST_ASKED_PAUSE = 10.0
"""Seconds; what a server may ask for between two questions."""
_CALL_TIMEOUT = 30.0
_MOST_RUNS = 1_024
"""How many runs are remembered; what is forgotten is asked for."""


class NotTakenUpError(Exception):
    """A connection was lost, and the server shows that the request did not arrive."""


def classify_assistants(error: Exception) -> Failure | None:
    """Sort what a call raised. A thread with an active run is to the engine what a locked conversation is."""
    from assistantguard.failures import Facts, classify  # the table is made when something first fails

    if isinstance(error, CapTooSmallError):
        return error.failure
    if isinstance(error, NotTakenUpError):
        return classify(Facts("connect", str(error)))
    failure = failure_of(error)
    if failure is None or failure.status_code is None or not re.search(_LOCKED, failure.message, re.IGNORECASE):
        return failure
    code, wait = "conversation_locked", failure.retry_after
    return classify(
        Facts("request", failure.message, failure.status_code, code, retry_after=wait, request_id=failure.request_id)
    )


def is_ours(run: Any) -> bool:
    """Whether a guard began a run. The server tells, where it keeps metadata."""
    return bool(get(run, "metadata", REQUEST_KEY))


class Runs:
    """The runs of one server.

    Args:
        port: The client.
        driver: Clock and sleep, in the guard's colour.
    """

    def __init__(self, port: ClientPort, driver: Driver) -> None:
        self.routes = Routes(port)
        self._driver = driver
        self.followed: set[str] = set()
        """Names of answers that the engine waits for."""
        self.rounds: dict[str, int] = {}
        """The newest round of a run, by run."""
        self.waiting: dict[str, str] = {}
        """The run that waits for tool outputs, by thread."""
        self._lists_steps = True

    def name(self, thread_id: str, run_id: str, number: int) -> str:
        """Our name for an answer: where it is found, and which of the run's rounds it is. It is waited for now."""
        self.rounds.pop(run_id, None)
        self.rounds[run_id] = number
        if len(self.rounds) > _MOST_RUNS:
            self.rounds.pop(next(iter(self.rounds)), None)
        name = f"{thread_id}/{run_id}/{number}"
        self.followed.add(name)
        return name

    async def newest(self, thread_id: str, timeout: float) -> Any:
        """The thread's newest run; None where there is none, or the server does not list them."""
        try:
            runs = await self.routes.listed(path_of("threads", thread_id, "runs"), timeout, order="desc", limit=20)
        except openai.APIStatusError as error:
            if error.status_code not in NOT_THERE:
                raise
            return None
        return runs[0] if runs else None

    async def retrieve(self, thread_id: str, run_id: str, timeout: float) -> HttpAnswer:
        """A run as it is now."""
        return await self.routes.get(path_of("threads", thread_id, "runs", run_id), timeout)

    async def wait(self, thread_id: str, run_id: str, until: float) -> HttpAnswer:
        """Ask for a run until it has ended or wants tool outputs, or until `until` (Unix time).

        Raises:
            TimeoutError: It has had a status that is not known here, all the time.
        """
        driver, pause = self._driver, _FIRST_PAUSE
        strange: TimeoutError | None = None
        while True:
            left = until - driver.now()
            try:
                answer = await self.retrieve(thread_id, run_id, max(0.001, min(_CALL_TIMEOUT, left)))
            except (TimeoutError, openai.APITimeoutError) as error:
                if strange is not None:
                    raise strange from error
                raise
            status = status_of(answer.data)
            text = f"the run {run_id} has the status {status!r}, which is not known here"
            strange = None if status in _KNOWN else TimeoutError(text)
            if status in ENDED or status == "requires_action":
                return answer
            wanted, pause = _asked_pause(answer.headers) or pause, min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)
            left = until - driver.now()
            if wanted < left:
                await driver.sleep(wanted)
                continue
            if strange is None:
                return answer
            await driver.sleep(max(0.0, left))
            raise strange

    async def answer(self, thread_id: str, name: str, found: HttpAnswer, timeout: float) -> ModelAnswer:
        """A run as the engine's answer of that name; what its object does not tell is asked for."""
        run, number = found.data, int(name.rpartition("/")[2])
        run_id = name.split("/")[-2]
        status = status_of(run)
        request_id = request_id_of(found)
        ended = status in ENDED
        if not ended and status != "requires_action":
            return answer_of_run(name, Rounds(run, None, number), number, (), request_id)
        alone = name in self.followed and number == 1 and status == "completed"
        self.followed.discard(name)
        steps: Sequence[Any] | None = None
        if not alone or get(run, "usage") is None or _has_builtin_tools(run):
            steps = await self.steps(thread_id, run_id, timeout)
        rounds = Rounds(run, steps, max(number, self.rounds.get(run_id, 0)))
        messages: Sequence[Any] = ()
        if ended or steps is None or any(get(step, "type") == "message_creation" for step in rounds.of(number)):
            messages = await self._messages(thread_id, run_id, timeout)
        if pending_calls(run):
            self.waiting[thread_id] = run_id
        return answer_of_run(name, rounds, number, messages, request_id)

    async def steps(self, thread_id: str, run_id: str, timeout: float) -> list[Any] | None:
        """A run's steps, oldest first; None where the server does not list them."""
        if not self._lists_steps:
            return None
        try:
            return await self.routes.listed(
                path_of("threads", thread_id, "runs", run_id, "steps"), timeout, order="asc"
            )
        except openai.APIStatusError as error:
            if error.status_code not in NOT_THERE:
                raise
            self._lists_steps = error.status_code == 404  # which is also said of a run that is gone
            return None

    async def _messages(self, thread_id: str, run_id: str, timeout: float) -> list[Any]:
        path = path_of("threads", thread_id, "messages")
        newest_first = await self.routes.listed(path, timeout, order="desc", limit=100, run_id=run_id)
        return messages_of_run(newest_first, run_id)

    async def end(self, thread_id: str, run: Any, until: float, outputs: Mapping[str, str] | None = None) -> HttpAnswer:
        """End a run: cancel it; where that is refused while it waits for outputs, give it some and cancel it then.

        Args:
            thread_id: Its thread.
            run: The run, or what is known of it: its id.
            until: Unix time at which to stop asking.
            outputs: Outputs to give, by call id, where there must be some.

        Returns:
            The run as it is then. Where it has not ended, nothing more could be done in time.
        """
        run_id = str(get(run, "id"))
        if self.waiting.get(thread_id) == run_id:
            del self.waiting[thread_id]
        found = await self._try("cancel", thread_id, run_id, until)
        found = found or await self.retrieve(thread_id, run_id, self.left(until))
        calls = pending_calls(found.data)
        if calls:
            given = outputs or {}
            body = {
                "tool_outputs": [{"tool_call_id": call.id, "output": given.get(call.id, UNANSWERED)} for call in calls]
            }
            await self._try("submit_tool_outputs", thread_id, run_id, until, body)
            await self._try("cancel", thread_id, run_id, until)
        return await self.wait(thread_id, run_id, until)

    async def _try(
        self, act: str, thread_id: str, run_id: str, until: float, body: Mapping[str, Any] | None = None
    ) -> HttpAnswer | None:
        """Do something with a run; None where the server refuses."""
        path = path_of("threads", thread_id, "runs", run_id, act)
        try:
            return await self.routes.post(path, self.left(until), body)
        except openai.APIStatusError as error:
            if error.status_code in {401, 403, 429} or error.status_code >= 500:
                raise
            return None

    async def unlock(self, thread_id: str, error: openai.APIStatusError, until: float) -> bool:
        """End the run of ours that a former process left in the thread; return whether it was what stood in the way.

        A server whose words for it are not known is understood by the active run that it has.

        Raises:
            openai.APIStatusError: A run of somebody else is active, in the words of the official API.
        """
        if error.status_code not in {400, 403, 409, 423}:
            return False
        run = await self.newest(thread_id, self.left(until))
        if run is None or status_of(run) in ENDED:
            return False
        if is_ours(run):
            half = self.until((until - self.until(0)) / 2)
            return status_of((await self.end(thread_id, run, half)).data) in ENDED
        failure = classify_assistants(error)
        if failure is not None and failure.code != "conversation_locked":
            text = f"Thread {thread_id} already has an active run {get(run, 'id')}. ({error.message})"
            raise type(error)(text, response=error.response, body=None) from error
        return False

    async def end_newest(self, thread_id: str, until: float, outputs: Mapping[str, str] | None = None) -> None:
        """End the thread's newest run where it has not ended. See `end`."""
        run = await self.newest(thread_id, self.left(until))
        if run is not None and status_of(run) not in ENDED:
            await self.end(thread_id, run, until, outputs)

    def left(self, until: float) -> float:
        """Seconds that a call may take.

        Raises:
            TimeoutError: There is no time left.
        """
        left = until - self._driver.now()
        if left <= 0:
            raise TimeoutError("there was no time left for another call")
        return min(_CALL_TIMEOUT, left)

    def until(self, timeout: float) -> float:
        """The Unix time in `timeout` seconds."""
        return self._driver.now() + timeout


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants between two questions; None where it does not say."""
    try:
        milliseconds = float(headers.get("openai-poll-after-ms") or "")
    except ValueError:
        return None
    return min(milliseconds / 1_000, _LONGEST_ASKED_PAUSE) if milliseconds > 0 else None


def _has_builtin_tools(run: Any) -> bool:
    tools = get(run, "tools")
    return any(get(tool, "type") != "function" for tool in (tools if isinstance(tools, list) else ()))
