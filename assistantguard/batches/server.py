"""The server's side of a batch: files, batches, and responses in the background. One class serves both colours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from assistantguard.backends.problems import UnreadableAnswerError
from assistantguard.backends.rates import rates_told
from assistantguard.backends.reading import answer_of, get
from assistantguard.batches.jobs import ENDPOINT

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort
    from assistantguard.batches.state import PartRecord
    from assistantguard.engine.ports import ModelAnswer

__all__ = ["KEY", "BatchServer"]

KEY = "assistantguard_part"
"""The name in a batch's metadata under which its key stands."""
_FILE_TYPE = "application/octet-stream"
"""Given, since guessing it from the name reads files the first time, and may do so in an event loop."""
_PAGE = 100
_MOST_PAGES = 50
"""How far back a batch is looked for."""


class BatchServer:
    """Calls of a client, none of them repeated here."""

    def __init__(self, port: ClientPort) -> None:
        self._port = port

    async def upload(self, filename: str, content: bytes, timeout: float) -> str:
        """Upload a file of requests; return its id."""
        made = await self._port.call("files.create", timeout, file=(filename, content, _FILE_TYPE), purpose="batch")
        return _id(made, "a file")

    async def find_file(self, filename: str, timeout: float) -> str | None:
        """The id of the file of this name; None where there is none."""
        found = await self._find("files.list", timeout, lambda file: get(file, "filename") == filename, purpose="batch")
        return None if found is None else _id(found, "a file")

    async def create(self, part: PartRecord, timeout: float) -> Any:
        """Begin a batch of the part's file, with the part's key in its metadata."""
        return await self._port.call(
            "batches.create",
            timeout,
            completion_window="24h",
            endpoint=ENDPOINT,
            input_file_id=part.file_id,
            metadata={KEY: part.id},
        )

    async def find(self, part: PartRecord, timeout: float) -> Any | None:
        """The batch that carries the part's key; None where there is none."""
        return await self._find("batches.list", timeout, lambda batch: get(batch, "metadata", KEY) == part.id)

    async def retrieve(self, batch_id: str, timeout: float) -> Any:
        """A batch as it is now."""
        return await self._port.call("batches.retrieve", timeout, batch_id)

    async def cancel(self, batch_id: str, timeout: float) -> Any:
        """Cancel a batch; what was done of it is billed."""
        return await self._port.call("batches.cancel", timeout, batch_id)

    async def lines(self, file_id: str, timeout: float) -> Iterator[Mapping[str, Any]]:
        """The lines of a file; those that are no JSON objects are passed over."""
        content = await self._port.call("files.content", timeout, file_id)
        return _objects(content if isinstance(content, bytes) else content.content)

    async def begin(self, body: Mapping[str, Any], request_id: str, timeout: float) -> ModelAnswer:
        """Begin a response in the background."""
        sent = await self._port.send(
            "post", "/responses", timeout, body=body, headers={"X-Client-Request-Id": request_id}
        )
        if not isinstance(get(sent.data, "id"), str):
            raise UnreadableAnswerError("the server's answer is no response object: check the base URL")
        return answer_of(sent.data, rates=rates_told(sent.headers))

    async def response(self, response_id: str, timeout: float) -> ModelAnswer:
        """A response as it is now."""
        return answer_of(await self._port.call("responses.retrieve", timeout, response_id))

    async def cancel_response(self, response_id: str, timeout: float) -> ModelAnswer:
        """Cancel a response in the background."""
        return answer_of(await self._port.call("responses.cancel", timeout, response_id))

    async def _find(self, path: str, timeout: float, fits: Callable[[Any], bool], **params: Any) -> Any | None:
        """The first object of a list that fits, the newest first."""
        after: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            page = await self._port.call(path, timeout, limit=_PAGE, **after, **params)
            entries = get(page, "data") or []
            for entry in entries:
                if fits(entry):
                    return entry
            if get(page, "has_more") is not True or not entries:
                return None
            after = {"after": _id(entries[-1], "a list")}
        return None


def _id(made: Any, what: str) -> str:
    found = get(made, "id")
    if not isinstance(found, str) or not found:
        raise UnreadableAnswerError(f"the server made {what} without an id: check the base URL")
    return found


def _objects(content: bytes) -> Iterator[Mapping[str, Any]]:
    for raw in content.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line
