"""Vector stores: one API, whatever serves threads and runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from assistantguard.backends.problems import UnreadableAnswerError
from assistantguard.backends.reading import get, vector_store_of
from assistantguard.engine.ports import VectorStoreInfo

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort

__all__ = ["VectorStores"]

_ITEMS_PER_PAGE = 100
_MOST_PAGES = 200
"""A server whose lists never end must not hold a turn up for ever."""
_FILES_PER_CALL = 500
_FILES_KEY = "assistantguard_files"


class VectorStores:
    """The part of a `Backend` that is about ``client.vector_stores``."""

    def __init__(self, port: ClientPort) -> None:
        self._port = port

    async def find_vector_store(self, file_ids: Sequence[str], timeout: float) -> VectorStoreInfo | None:
        """See `Backend.find_vector_store`. Stores carry a hash of their files in their metadata."""
        wanted = _files_hash(file_ids)
        seen: set[str] = set()
        after: str | None = None
        for _ in range(_MOST_PAGES):
            params: dict[str, Any] = {"limit": _ITEMS_PER_PAGE, "order": "desc"}
            if after is not None:
                params["after"] = after
            page = await self._port.call("vector_stores.list", timeout, **params)
            stores = [store for store in get(page, "data") or [] if get(store, "id") not in seen]
            for store in stores:
                seen.add(get(store, "id"))
                info = vector_store_of(store)
                if get(store, "metadata", _FILES_KEY) == wanted and info.status != "expired" and not info.failed:
                    return info
            after = get(stores[-1], "id") if stores else None
            if after is None or get(page, "has_more") is not True:
                return None
        return None

    async def create_vector_store(
        self, file_ids: Sequence[str], expires_after_days: int, timeout: float
    ) -> VectorStoreInfo:
        """See `Backend.create_vector_store`. Files beyond 500 are added in batches of as many."""
        digest = _files_hash(file_ids)
        store = await self._port.call(
            "vector_stores.create",
            timeout,
            name=f"assistantguard {digest[:12]}",
            file_ids=list(file_ids[:_FILES_PER_CALL]),
            expires_after={"anchor": "last_active_at", "days": expires_after_days},
            metadata={_FILES_KEY: digest},
        )
        info = vector_store_of(store)
        if not info.id:
            raise UnreadableAnswerError("the server made a vector store without an id: check the base URL")
        for start in range(_FILES_PER_CALL, len(file_ids), _FILES_PER_CALL):
            chunk = list(file_ids[start : start + _FILES_PER_CALL])
            await self._port.call("vector_stores.file_batches.create", timeout, info.id, file_ids=chunk)
        return await self.vector_store(info.id, timeout) if len(file_ids) > _FILES_PER_CALL else info

    async def vector_store(self, vector_store_id: str, timeout: float) -> VectorStoreInfo:
        """See `Backend.vector_store`."""
        return vector_store_of(await self._port.call("vector_stores.retrieve", timeout, vector_store_id))

    async def delete_vector_store(self, vector_store_id: str, timeout: float) -> None:
        """See `Backend.delete_vector_store`."""
        await self._port.call("vector_stores.delete", timeout, vector_store_id)

    async def failed_files(self, vector_store_id: str, timeout: float) -> list[str]:
        """See `Backend.failed_files`; the first hundred."""
        page = await self._port.call(
            "vector_stores.files.list", timeout, vector_store_id, filter="failed", limit=_ITEMS_PER_PAGE
        )
        return [
            f"{get(entry, 'id')}: {get(entry, 'last_error', 'message') or 'no reason given'}"
            for entry in get(page, "data") or []
        ]


def _files_hash(file_ids: Sequence[str]) -> str:
    """The same for the same set of files, in any order."""
    return hashlib.sha256("\n".join(sorted(set(file_ids))).encode()).hexdigest()
