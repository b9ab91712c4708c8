"""The clients of the serve benchmark, each of which does one thing over and over, and the processes they are in."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import openai

from benchmarks._serve_broken import BROKEN, intrusion
from benchmarks._serve_line import CLOSED, PATIENCE, SILENT, Line, Scene, ask, request
from benchmarks._serve_tally import Tally
from benchmarks.canned import http_library

__all__ = ["kinds_of", "run_worker", "told"]

_OK = frozenset({200})
_PAUSE = (0.5, 2.0)
"""Seconds between two broken requests of a client."""
_ROOM_AFTER = 1.0
"""Seconds, as the server says with its 503."""
_TURNS_ON_A_THREAD = 3
_SLOW_BUFFER = 2048
"""Bytes."""
_DRIP_EACH = 0.7
"""Seconds; not a server's limit in whole seconds, since what is sent just as it closes makes its answer get lost."""
_BYTE_EACH = 0.05
"""Seconds."""
_SLOW_FOR = (2.0, 8.0)
"""Seconds for which a slow reader takes a byte at a time, before it takes the rest."""
_STUCK_LONGER = 3.0
"""Seconds beyond the server's limit for which a stuck reader takes nothing."""


class _Client:
    """One of the clients.

    Args:
        scene: What it knows.
        number: Its own.
        half: Which half of the load it is.
        tally: Where it counts.
    """

    def __init__(self, scene: Scene, number: int, half: int, tally: Tally) -> None:
        self.scene = scene
        self.dice = random.Random(f"{scene.seed} {half} {number}")
        self.tally = tally
        self._name = f"{half}.{number}"
        self._turns = 0

    # Turns, with the official SDK

    async def polls(self, until: float) -> None:
        """Turns with ``create_and_poll``."""
        await self._talk(until, streamed=False)

    async def streams(self, until: float) -> None:
        """Turns with ``stream``."""
        await self._talk(until, streamed=True)

    async def _talk(self, until: float, *, streamed: bool) -> None:
        http: Any = http_library()
        kind = "streaming" if streamed else "polling"

        async def answered(response: Any) -> None:
            self.tally.note(kind, response.status_code, _OK)

        transport = http.AsyncClient(trust_env=False, verify=False, event_hooks={"response": [answered]})
        async with openai.AsyncOpenAI(
            base_url=self.scene.base_url,
            api_key=self.scene.key,
            max_retries=0,
            timeout=PATIENCE,
            http_client=transport,
        ) as client:
            thread_id: str | None = None
            while time.monotonic() < until:
                began = time.monotonic()
                try:
                    if thread_id is None or self._turns % _TURNS_ON_A_THREAD == 0:
                        thread_id = (await client.beta.threads.create(metadata={"client": self._name})).id
                    wrong = await self._turn(client, thread_id, streamed=streamed)
                except openai.APIStatusError as error:
                    thread_id = None
                    if error.status_code == 503:
                        self.tally.turns_put_off += 1
                        await asyncio.sleep(_ROOM_AFTER)
                        continue
                    wrong = f"{error.status_code}: {error.message}"
                except openai.APIConnectionError as error:
                    thread_id, wrong = None, f"{type(error).__name__}: {error.__cause__!r}"
                    self.tally.note(kind, wrong, _OK)
                except (openai.APIError, http.HTTPError) as error:
                    thread_id, wrong = None, f"the stream broke: {error!r}"
                if wrong is None:
                    self.tally.turns.append(time.monotonic() - began)
                else:
                    self.tally.turns_failed[f"{kind}: {wrong}"] += 1

    async def _turn(self, client: openai.AsyncOpenAI, thread_id: str, *, streamed: bool) -> str | None:
        """Make a turn; what is wrong with it."""
        self._turns += 1
        word = f"word-{self._name}-{self._turns}"
        threads = client.beta.threads
        await threads.messages.create(thread_id, role="user", content=f"Say {word} please.")
        assistant_id = self.scene.assistant_id
        if streamed:
            async with threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id) as stream:
                await stream.until_done()
                run = stream.current_run
        else:
            run = await threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
        if run is None or run.status != "completed":
            return "no run" if run is None else f"the run is {run.status}: {run.last_error}"
        messages = await threads.messages.list(thread_id, run_id=run.id)
        said = [part.text.value for each in messages.data for part in each.content if part.type == "text"]
        return None if len(said) == 1 and word in said[0] else f"the answer is {said!r}"

    # Readers that do not read, and writers that do not write

    async def _thread(self, kind: str) -> str | None:
        """A thread with a message; None where there was no room for it."""
        messages = [{"role": "user", "content": f"Say word-{self._name} please."}]
        status, body = await ask(self.scene, request("POST", "/threads", self.scene.key, {"messages": messages}))
        self.tally.note(kind, status, _OK)
        if status != 200:
            await asyncio.sleep(_ROOM_AFTER)
            return None
        return str(json.loads(body)["id"])

    def _run(self, thread_id: str, *, streamed: bool) -> bytes:
        document = {"assistant_id": self.scene.assistant_id, "stream": streamed}
        return request("POST", f"/threads/{thread_id}/runs", self.scene.key, document)

    async def reads_slowly(self, until: float) -> None:
        """Streams that are read a byte at a time, for a while."""
        while time.monotonic() < until:
            thread_id = await self._thread("slow reader")
            if thread_id is None:
                continue
            line = Line(self.scene.address, _SLOW_BUFFER)
            try:
                await line.open()
                await line.send(self._run(thread_id, streamed=True))
                status, headers = await line.head()
                slowly = time.monotonic() + self.dice.uniform(*_SLOW_FOR)
                while status == 200 and time.monotonic() < slowly:
                    line.came += await line.more(1)
                    await asyncio.sleep(_BYTE_EACH)
                body = await line.body(headers) if isinstance(status, int) else None
                whole = status != 200 or (body is not None and b"data: [DONE]" in body)
                self.tally.note("slow reader", status if whole else f"{status} cut off", _OK)
            except TimeoutError:
                self.tally.note("slow reader", "silent in mid-stream", _OK)
            finally:
                line.close()

    async def takes_nothing(self, until: float) -> None:
        """Long answers of which one byte is read."""
        path = f"/threads/{self.scene.long_thread}/messages?limit=100"
        while time.monotonic() < until:
            line = Line(self.scene.address, _SLOW_BUFFER)
            try:
                await line.open()
                await line.send(request("GET", path, self.scene.key))
                line.came = await line.more(1)
                await asyncio.sleep(self.scene.write_seconds + _STUCK_LONGER)
                status, headers = await line.head()
                if status != 503 and isinstance(status, int):
                    status = CLOSED if await line.body(headers) is None else status
                self.tally.note("reader that takes nothing", status, frozenset({CLOSED}))
            except TimeoutError:
                self.tally.note("reader that takes nothing", SILENT, frozenset({CLOSED}))
            finally:
                line.close()

    async def stalls(self, until: float) -> None:
        """Bodies that stop in the middle, or come too slowly."""
        while time.monotonic() < until:
            drips = self.dice.random() < 0.5
            line = Line(self.scene.address)
            try:
                await line.open()
                body = b'{"metadata": {"name": "'
                await line.send(request("POST", "/threads", self.scene.key, body=body, content_length="10000"))
                patience = time.monotonic() + PATIENCE
                while drips and time.monotonic() < patience:
                    try:
                        line.came += await line.more(patience=_DRIP_EACH)
                        break
                    except TimeoutError:
                        await line.send(b"x")
                self.tally.note("stalled body", (await line.head())[0], frozenset({408}))
            finally:
                line.close()

    async def leaves(self, until: float) -> None:
        """Streams, polls and bodies that are left in the middle."""
        while time.monotonic() < until:
            kind = f"leaves {self.dice.choice(['a stream', 'a poll', 'in mid-body'])}"
            if kind == "leaves in mid-body":
                await self._left(kind, request("POST", "/threads", self.scene.key, body=b"{", content_length="90"))
                await asyncio.sleep(self.dice.uniform(*_PAUSE))
                continue
            thread_id = await self._thread(kind)
            if thread_id is None:
                continue
            if kind == "leaves a stream":
                await self._left(kind, self._run(thread_id, streamed=True), answered=True)
                continue
            status, body = await ask(self.scene, self._run(thread_id, streamed=False))
            self.tally.note(kind, status, _OK)
            if status == 200:
                run_id = str(json.loads(body)["id"])
                path = f"/threads/{thread_id}/runs/{run_id}"
                await self._left(kind, request("GET", path, self.scene.key, x_stainless_poll_helper="true"))

    async def _left(self, kind: str, data: bytes, *, answered: bool = False) -> None:
        """Send a request and leave: at once, or in the middle of the answer."""
        line = Line(self.scene.address)
        outcome: int | str = "left"
        try:
            await line.open()
            await line.send(data)
            if answered:
                outcome, _ = await line.head()
                if outcome == 200:
                    await line.more()
            else:
                await asyncio.sleep(self.dice.uniform(0, 0.2))
        finally:
            line.close(hard=self.dice.random() < 0.5)
        self.tally.note(kind, outcome, _OK)

    # Requests that must not get in

    async def breaks(self, until: float) -> None:
        """Broken requests."""
        while time.monotonic() < until:
            broken = self.dice.choice(BROKEN)
            status, _ = await ask(self.scene, broken.made(self.scene, self.dice), ends=broken.ends)
            self.tally.note(broken.name, status, broken.due)
            await asyncio.sleep(self.dice.uniform(*_PAUSE))

    async def intrudes(self, until: float) -> None:
        """Requests without a valid key."""
        while time.monotonic() < until:
            status, body = await ask(self.scene, intrusion(self.scene, self.dice))
            self.tally.note("without a valid key", status, frozenset({401}))
            self.tally.intruders += 1
            self.tally.let_in += status != 401 or self.scene.secret.encode() in body
            await asyncio.sleep(self.dice.uniform(*_PAUSE))


_KINDS: Sequence[tuple[str, float, Callable[[_Client, float], Awaitable[None]]]] = (
    ("poll", 0.28, _Client.polls),
    ("stream", 0.27, _Client.streams),
    ("read slowly", 0.12, _Client.reads_slowly),
    ("leave", 0.06, _Client.leaves),
    ("stall in mid-body", 0.05, _Client.stalls),
    ("send broken requests", 0.12, _Client.breaks),
    ("have no valid key", 0.09, _Client.intrudes),
    ("take nothing", 0.01, _Client.takes_nothing),
)
"""What clients do, and the part of them that does it."""


def kinds_of(clients: int) -> list[int]:
    """What each of so many clients does, as an index of `_KINDS`: at least one of them does each."""
    counts = [max(1, round(share * clients)) for _, share, _ in _KINDS]
    counts[0] += clients - sum(counts)
    return [index for index, count in enumerate(counts) for _ in range(count)]


def told(kinds: Sequence[int]) -> dict[str, int]:
    """How many clients do what."""
    return dict(Counter(_KINDS[kind][0] for kind in kinds))


async def _load(scene: Scene, numbers: Sequence[tuple[int, int]], half: int, seconds: float) -> Tally:
    tally, until = Tally(), time.monotonic() + seconds
    clients = [partial(_KINDS[kind][2], _Client(scene, number, half, tally)) for number, kind in numbers]
    await asyncio.gather(*(client(until) for client in clients))
    return tally


def run_worker(line: Connection, scene: Scene, numbers: Sequence[tuple[int, int]]) -> None:
    """Be some of the clients, as often as the parent says.

    Args:
        line: To the parent: it is told that the worker is ready; a half and its seconds come, a `Tally` goes.
        scene: What the clients know.
        numbers: The clients, and what each does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends with it
    warnings.simplefilter("ignore", DeprecationWarning)
    with openai.OpenAI(api_key=scene.key, base_url=scene.base_url) as client:
        assert client.beta.threads.runs is not None  # what the SDK imports at its first use is there before the load
    line.send("ready")
    while True:
        try:
            half, seconds = line.recv()
        except EOFError:
            return
        line.send(asyncio.run(_load(scene, numbers, half, seconds)))
