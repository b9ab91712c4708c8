"""A server that the engine talks to, scripted: it keeps conversations, counts exactly, bills, and fails on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from assistantguard import ToolOutput
from assistantguard.engine import AnswerStream, ModelAnswer, ModelRequest, Piece, VectorStoreInfo
from assistantguard.failures import Facts, classify
from assistantguard.models import Failure, Item
from tests.properties.acts import Act, Billed, Chore, Refusal, Vanish
from tests.properties.jobs import Job, Jobs
from tests.properties.shelf import ServerProblem, Shelf, refuse
from tests.properties.stage import Stage

__all__ = ["NO_BACKGROUND", "ScriptedServer"]

T = TypeVar("T")
NO_BACKGROUND = "Background mode is not available."
_BROKEN = Facts("stream", "the stream broke")


class ScriptedServer:
    """`Backend` that keeps conversations and bills. Refuses what the API refuses, in the API's words.

    Args:
        stage: Its clock and points.
        acts: What comes of the paid calls, in order; afterwards each is answered with ``done``.
        chores: What comes of the unpaid ones, in order; None, and everything afterwards, works.
        density: Tokens that a byte of text costs, above 0 and at most 1.
        obedient: Whether ``tool_choice="none"`` keeps the model from calling tools.
        counts: Whether the server has the route that counts input.
        backgrounds: Whether it has background mode.
    """

    def __init__(
        self,
        stage: Stage,
        acts: Iterable[Act | Refusal | Vanish] = (),
        chores: Iterable[Chore | None] = (),
        *,
        density: float = 0.3,
        obedient: bool = True,
        counts: bool = True,
        backgrounds: bool = True,
    ) -> None:
        self._stage = stage
        self._acts = list(acts)
        self._chores = list(chores)
        self._counts = counts
        self._backgrounds = backgrounds
        self.shelf = Shelf(density)
        self.jobs = Jobs(self.shelf, obedient=obedient)
        self.sent: list[ModelRequest] = []

    @property
    def bill(self) -> list[Billed]:
        """All lines of the bill."""
        return self.jobs.bill

    def classify(self, error: Exception) -> Failure | None:
        return classify(error.facts) if isinstance(error, ServerProblem) else None

    async def create_generation(self, items: Sequence[Item], metadata: Mapping[str, str], timeout: float) -> str:
        return await self._chore("create_generation", lambda: self.shelf.create(items))

    async def delete_generation(self, generation_id: str, *, scrub: bool, timeout: float) -> None:
        await self._chore("delete_generation", lambda: self.shelf.conversations.pop(generation_id, None))

    async def history(self, generation_id: str, timeout: float, *, limit: int | None = None) -> list[Item]:
        stored = await self._chore("history", lambda: [*self.shelf.conversation(generation_id)])
        return [entry.item for entry in stored[::-1]][:limit]

    async def add_outputs(self, generation_id: str, outputs: Sequence[ToolOutput], timeout: float) -> str | None:
        def add() -> str | None:
            conversation = self.shelf.conversation(generation_id)
            conversation += [
                self.shelf.stored(Item("function_call_output", output.output, call_id=output.call_id))
                for output in outputs
            ]
            return conversation[-1].item.id

        return await self._chore("add_outputs", add)

    async def add_messages(
        self, generation_id: str, items: Sequence[Mapping[str, object]], timeout: float
    ) -> str | None:
        raise NotImplementedError

    async def delete_items(self, generation_id: str, item_ids: Sequence[str], timeout: float) -> None:
        def delete() -> None:
            conversation = self.shelf.conversation(generation_id)
            conversation[:] = [entry for entry in conversation if entry.item.id not in item_ids]

        await self._chore("delete_items", delete)

    async def count_input(self, request: ModelRequest, timeout: float) -> int | None:
        return await self._chore("count_input", lambda: self.shelf.input_tokens(request) if self._counts else None)

    async def respond(self, request: ModelRequest, timeout: float) -> ModelAnswer:
        job = await self._take_on(request, timeout, streamed=False)
        if not request.background and job.act.status != "in_progress":
            self.jobs.finish(job)
        answer = self.jobs.show(job)
        await self._stage.point("respond done")
        if job.act.lost:
            raise ServerProblem(Facts("request", "Connection error."))
        return self.jobs.arrived(answer)

    async def stream(self, request: ModelRequest, timeout: float) -> AnswerStream:
        job = await self._take_on(request, timeout, streamed=True)
        pieces = _Pieces(self._stage, self.jobs, job)
        try:
            await self._stage.point("stream begun")
        except BaseException:
            self.jobs.leave(job)  # nobody is there to read it
            raise
        if job.act.lost:
            job.streamed = False
            if not request.background:
                self.jobs.finish(job)
            raise ServerProblem(Facts("request", "Connection error."))
        return pieces

    async def resume(self, response_id: str, sequence_number: int, timeout: float) -> AnswerStream:
        job = await self._chore("resume", lambda: self.jobs.find(response_id))
        return _Pieces(self._stage, self.jobs, job, sequence_number)

    async def look_up(self, response_id: str, timeout: float) -> ModelAnswer:
        return self.jobs.arrived(await self._chore("look_up", lambda: self.jobs.show(self.jobs.find(response_id))))

    async def cancel(self, response_id: str, timeout: float) -> ModelAnswer:
        def cancel() -> ModelAnswer:
            job = self.jobs.find(response_id)
            self.jobs.cancel(job)
            return self.jobs.show(job)

        return self.jobs.arrived(await self._chore("cancel", cancel))

    def refuses_background(self, failure: Failure) -> bool:
        return failure.message == NO_BACKGROUND

    async def find_vector_store(self, file_ids: Sequence[str], timeout: float) -> VectorStoreInfo | None:
        return await self._chore("find_vector_store", lambda: None)

    async def create_vector_store(
        self, file_ids: Sequence[str], expires_after_days: int, timeout: float
    ) -> VectorStoreInfo:
        return await self._chore("create_vector_store", lambda: _store_info(self.shelf.id("vs")))

    async def vector_store(self, vector_store_id: str, timeout: float) -> VectorStoreInfo:
        return await self._chore("vector_store", lambda: _store_info(vector_store_id))

    async def delete_vector_store(self, vector_store_id: str, timeout: float) -> None:
        await self._chore("delete_vector_store", lambda: None)

    async def failed_files(self, vector_store_id: str, timeout: float) -> list[str]:
        return await self._chore("failed_files", list)

    def script(self, acts: Iterable[Act | Refusal | Vanish]) -> None:
        """Let these come of the next paid calls."""
        self._acts.extend(acts)

    def script_chores(self, chores: Iterable[Chore | None]) -> None:
        """Let these come of the next unpaid calls."""
        self._chores.extend(chores)

    def recover(self) -> None:
        """From now on everything works, what was being made has ended, and all usage is told that ever is."""
        self._acts.clear()
        self._chores.clear()
        self.jobs.finish_all()

    def open_calls(self, generation_id: str) -> list[str]:
        """Function calls of a conversation that have no output."""
        return self.shelf.open_calls(generation_id)

    def user_texts(self, generation_id: str) -> list[str]:
        """The user's messages in a conversation, in order."""
        return self.shelf.user_texts(generation_id)

    async def _chore(self, name: str, work: Callable[[], T]) -> T:
        await self._stage.point(name)
        self.jobs.tick()
        fate = self._chores.pop(0) if self._chores else None
        if fate is not None and not fate.done:
            raise ServerProblem(fate.facts)
        result = work()
        await self._stage.point(f"{name} done")
        if fate is not None:
            raise ServerProblem(fate.facts)
        return result

    async def _take_on(self, request: ModelRequest, timeout: float, *, streamed: bool) -> Job:
        """Let a paid request pass, or refuse it."""
        assert timeout > 0
        await self._stage.point("stream" if streamed else "respond")
        self.jobs.tick()
        self.sent.append(replace(request, input=[*request.input]))
        if self._acts and isinstance(self._acts[0], Vanish):
            self._acts.pop(0)
            self.shelf.conversations.pop(request.generation_id or "", None)
        if request.background and not self._backgrounds:
            raise refuse(NO_BACKGROUND)
        if self.jobs.is_locked(request.generation_id):
            raise refuse("Another process is currently operating on this conversation.", code="conversation_locked")
        self.shelf.check(request)
        act = self._acts.pop(0) if self._acts else Act()
        if isinstance(act, Vanish):
            act = Act()
        if isinstance(act, Refusal):
            raise ServerProblem(act.facts)
        return self.jobs.begin(request, act, streamed=streamed)


class _Pieces:
    """An answer that arrives word by word."""

    def __init__(self, stage: Stage, jobs: Jobs, job: Job, begin: int | None = None) -> None:
        self._stage = stage
        self._jobs = jobs
        self._job = job
        self._number = begin or 0
        self._cut = job.act.cut if begin is None else None
        self.response_id = None if begin is None else job.id
        self.sequence_number = begin
        job.streamed = True

    async def next(self) -> Piece | ModelAnswer:
        await self._stage.point("piece")
        job = self._job
        if self._cut == -1:
            self._break()
        self.response_id, self.sequence_number = job.id, self._number
        if self._cut is not None and self._number >= self._cut:
            self._break()
        pieces = job.pieces
        if self._number < len(pieces):
            self._number += 1
            self.sequence_number = self._number
            return pieces[self._number - 1]
        if job.act.status == "in_progress" and not job.ended:
            self._break()
        self._jobs.finish(job)
        return self._jobs.arrived(self._jobs.show(job))

    async def close(self) -> None:
        self._jobs.leave(self._job)
        await self._stage.point("close")

    def _break(self) -> None:
        self._jobs.leave(self._job)
        raise ServerProblem(_BROKEN)


def _store_info(store_id: str) -> VectorStoreInfo:
    return VectorStoreInfo(store_id, "completed", 0, 1, 0, 1_000, None)
