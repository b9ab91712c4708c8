"""`/vector_stores`: files "embedded" at once, or as slowly as asked, or not at all."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from assistantguard._parameters import array, boolean, enumeration, integer, mapping, metadata, string
from assistantguard._refusals import invalid
from assistantguard.sandbox.paging import page
from assistantguard.sandbox.problems import not_found
from assistantguard.sandbox.stores import Store, StoreFile, counts
from assistantguard.sandbox.validation import check_body, obj

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from assistantguard._parameters import Check
    from assistantguard.sandbox.billing import Billing
    from assistantguard.sandbox.files import Files
    from assistantguard.sandbox.state import State
    from assistantguard.sandbox.stores import Embedding

__all__ = ["VectorStores"]


def _attributes(value: Any, param: str) -> None:
    mapping(value, param)
    for key, one in value.items():
        if not isinstance(one, (str, int, float, bool)):
            string()(one, f"{param}.{key}")


_EXPIRES_AFTER = obj(
    {"anchor": enumeration("last_active_at"), "days": integer(minimum=1, maximum=365)},
    required=("anchor", "days"),
)
_FILE_IDS = array(string(), of="strings", maximum=500)
_CHUNKING = mapping
_CREATE: dict[str, Check] = {
    "file_ids": _FILE_IDS,
    "name": string(),
    "description": string(),
    "expires_after": _EXPIRES_AFTER,
    "chunking_strategy": _CHUNKING,
    "metadata": metadata,
}
_UPDATE: dict[str, Check] = {"name": string(), "expires_after": _EXPIRES_AFTER, "metadata": metadata}
_ADD_FILE: dict[str, Check] = {
    "file_id": string(),
    "attributes": _attributes,
    "chunking_strategy": _CHUNKING,
}
_BATCH: dict[str, Check] = {
    "file_ids": _FILE_IDS,
    "files": array(obj(_ADD_FILE, required=("file_id",), nullable=("attributes",)), maximum=500),
    "attributes": _attributes,
    "chunking_strategy": _CHUNKING,
}
_SEARCH: dict[str, Check] = {
    "query": lambda value, param: (string() if isinstance(value, str) else array(string(), of="strings"))(value, param),
    "filters": mapping,
    "max_num_results": integer(minimum=1, maximum=50),
    "ranking_options": mapping,
    "rewrite_query": boolean,
}
_CHUNKS = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
_FILTER = enumeration("in_progress", "completed", "failed", "cancelled")


class VectorStores:
    """Serves `/vector_stores`.

    Args:
        state: Ids and the clock.
        files: The uploaded files.
        billing: Where stores and embedded files are counted.
        embedding: How files are embedded.
    """

    def __init__(self, state: State, files: Files, billing: Billing, embedding: Embedding) -> None:
        self._state = state
        self._files = files
        self._billing = billing
        self._embedding = embedding
        self._stores: dict[str, Store] = {}

    def _store(self, store_id: str) -> Store:
        found = self._stores.get(store_id)
        if found is None:
            raise not_found(f"No vector store found with id '{store_id}'.", param="vector_store_id")
        return found

    def _living(self, store_id: str) -> Store:
        store = self._store(store_id)
        if store.expired(self._state.now()):
            raise invalid("vector_store_id", f"Vector store '{store_id}' has expired.", "vector_store_expired")
        return store

    @contextlib.contextmanager
    def embedded(self, embedding: Embedding) -> Iterator[None]:
        """Embed the files that are added meanwhile in another way."""
        usual, self._embedding = self._embedding, embedding
        try:
            yield
        finally:
            self._embedding = usual

    def expire(self, store_ids: Sequence[str]) -> None:
        """Let stores expire now; those that do not exist are passed over."""
        for store_id in store_ids:
            if store_id in self._stores:
                self._stores[store_id].ended_at = int(self._state.now())

    def forget(self, file_id: str) -> None:
        """Take a deleted file out of all stores."""
        for store in self._stores.values():
            store.files.pop(file_id, None)

    def use(self, store_ids: Sequence[str]) -> None:
        """Mark stores as used by a response.

        Raises:
            ApiProblem: 404 for a store that does not exist, 400 for one that has expired.
        """
        for store_id in store_ids:
            if store_id not in self._stores:
                raise not_found(f"Vector store with id ['{store_id}'] not found.", param="tools")
            self._living(store_id).last_active_at = int(self._state.now())

    def create(self, body: Any) -> dict[str, Any]:
        """Answer `POST /vector_stores`."""
        checked = check_body(body, _CREATE)
        now = self._state.now()
        store = Store(
            self._state.ids.make("vs_"),
            checked.get("name", ""),
            int(now),
            int(now),
            checked.get("metadata", {}),
            checked.get("expires_after", {}).get("days"),
        )
        for file_id in checked.get("file_ids", ()):
            self._add(store, {"file_id": file_id, "chunking_strategy": checked.get("chunking_strategy")})
        self._stores[store.id] = store
        self._billing.vector_stores_created += 1
        return store.document(self._state.now())

    def list_all(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer `GET /vector_stores`."""
        now = self._state.now()
        return page([store.document(now) for store in self._stores.values()], query)

    def get(self, store_id: str) -> dict[str, Any]:
        """Answer `GET /vector_stores/{id}`."""
        return self._store(store_id).document(self._state.now())

    def update(self, store_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /vector_stores/{id}`."""
        store = self._store(store_id)
        checked = check_body(body, _UPDATE)
        store.name = checked.get("name", store.name)
        store.metadata = checked.get("metadata", store.metadata)
        if isinstance(body, dict) and "expires_after" in body:
            store.days = checked.get("expires_after", {}).get("days")
        return store.document(self._state.now())

    def delete(self, store_id: str) -> dict[str, Any]:
        """Answer `DELETE /vector_stores/{id}`. Its files stay under `/files`."""
        self._store(store_id)
        del self._stores[store_id]
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    def _add(self, store: Store, given: Mapping[str, Any]) -> StoreFile:
        file = self._files.get(given["file_id"])
        existing = store.files.get(file.id)
        if existing is not None:
            return existing
        now = self._state.now()
        failing = not {"*", file.id, file.filename}.isdisjoint(self._embedding.failing)
        chunking = given.get("chunking_strategy")
        added = StoreFile(
            id=file.id,
            store_id=store.id,
            created_at=int(now),
            ready_at=now + self._embedding.seconds,
            size=len(file.content),
            attributes=given.get("attributes") or {},
            chunking=chunking if chunking and chunking.get("type") == "static" else _CHUNKS,
            failure=self._embedding.error_code if failing else None,
        )
        store.files[file.id] = added
        self._billing.files_embedded[file.id] += 1
        return added

    def add_file(self, store_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /vector_stores/{id}/files`."""
        store = self._living(store_id)
        checked = check_body(body, _ADD_FILE, required=("file_id",), not_nullable=("file_id",))
        return self._add(store, checked).document(self._state.now())

    def list_files(self, store_id: str, query: Mapping[str, str], only: Sequence[str] | None = None) -> dict[str, Any]:
        """Answer `GET /vector_stores/{id}/files`, and of a batch the same with `only` its files."""
        store = self._store(store_id)
        now = self._state.now()
        store.expired(now)
        wanted = query.get("filter")
        if wanted is not None:
            _FILTER(wanted, "filter")
        documents = [file.document(now) for file in store.files.values() if only is None or file.id in only]
        return page([shown for shown in documents if wanted in {None, shown["status"]}], query)

    def _file(self, store_id: str, file_id: str) -> StoreFile:
        store = self._store(store_id)
        store.expired(self._state.now())
        file = store.files.get(file_id)
        if file is None:
            raise not_found(f"No file found with id '{file_id}' in vector store '{store_id}'.", param="file_id")
        return file

    def file(self, store_id: str, file_id: str) -> dict[str, Any]:
        """Answer `GET /vector_stores/{id}/files/{file_id}`."""
        return self._file(store_id, file_id).document(self._state.now())

    def update_file(self, store_id: str, file_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /vector_stores/{id}/files/{file_id}`."""
        file = self._file(store_id, file_id)
        file.attributes = check_body(body, {"attributes": _attributes}).get("attributes", {})
        return file.document(self._state.now())

    def delete_file(self, store_id: str, file_id: str) -> dict[str, Any]:
        """Answer `DELETE /vector_stores/{id}/files/{file_id}`. The file stays under `/files`."""
        self._file(store_id, file_id)
        del self._store(store_id).files[file_id]
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}

    def create_batch(self, store_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /vector_stores/{id}/file_batches`."""
        store = self._living(store_id)
        checked = check_body(body, _BATCH)
        if ("file_ids" in checked) == ("files" in checked):
            raise invalid("file_ids", "Provide exactly one of 'file_ids' and 'files'.")
        shared = {name: checked[name] for name in ("attributes", "chunking_strategy") if name in checked}
        entries = checked.get("files") or [{"file_id": one, **shared} for one in checked.get("file_ids", ())]
        added = [self._add(store, entry).id for entry in entries]
        batch_id = self._state.ids.make("vsfb_")
        store.batches[batch_id] = (int(self._state.now()), added)
        return self.batch(store_id, batch_id)

    def _batch(self, store_id: str, batch_id: str) -> tuple[int, list[str]]:
        batch = self._store(store_id).batches.get(batch_id)
        if batch is None:
            raise not_found(f"No vector store file batch found with id '{batch_id}'.", param="batch_id")
        return batch

    def batch(self, store_id: str, batch_id: str) -> dict[str, Any]:
        """Answer `GET /vector_stores/{id}/file_batches/{batch_id}`."""
        created_at, file_ids = self._batch(store_id, batch_id)
        store = self._store(store_id)
        file_counts = counts([store.files[one] for one in file_ids if one in store.files], self._state.now())
        status = "cancelled" if file_counts["cancelled"] else "completed"
        if file_counts["in_progress"]:
            status = "in_progress"
        return {
            "id": batch_id,
            "object": "vector_store.files_batch",
            "created_at": created_at,
            "vector_store_id": store_id,
            "status": status,
            "file_counts": file_counts,
        }

    def cancel_batch(self, store_id: str, batch_id: str) -> dict[str, Any]:
        """Answer `POST /vector_stores/{id}/file_batches/{batch_id}/cancel`."""
        _, file_ids = self._batch(store_id, batch_id)
        now = self._state.now()
        store = self._store(store_id)
        for one in file_ids:
            file = store.files.get(one)
            if file is not None and file.status(now) == "in_progress":
                file.cancelled = True
        return self.batch(store_id, batch_id)

    def batch_files(self, store_id: str, batch_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer `GET /vector_stores/{id}/file_batches/{batch_id}/files`."""
        return self.list_files(store_id, query, only=self._batch(store_id, batch_id)[1])

    def search(self, store_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /vector_stores/{id}/search`."""
        store = self._living(store_id)
        checked = check_body(body, _SEARCH, required=("query",), not_nullable=("query",))
        query = checked["query"]
        queries = [query] if isinstance(query, str) else query
        store.last_active_at = int(self._state.now())
        found = self.find([store_id], " ".join(queries), checked.get("max_num_results", 10))
        data = [
            {
                "file_id": one["file_id"],
                "filename": one["filename"],
                "score": one["score"],
                "attributes": one["attributes"],
                "content": [{"type": "text", "text": one["text"]}],
            }
            for one in found
        ]
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": data,
            "has_more": False,
            "next_page": None,
        }

    def find(self, store_ids: Sequence[str], query: str, limit: int) -> list[dict[str, Any]]:
        """Return the files that share most words with a query, best first; `score` is the share of words found."""
        words = set(re.findall(r"\w+", query.lower()))
        now = self._state.now()
        found: list[dict[str, Any]] = []
        for store_id in store_ids:
            for file in self._store(store_id).files.values():
                if file.status(now) != "completed":
                    continue
                stored = self._files.get(file.id)
                shared = words & set(re.findall(r"\w+", stored.text.lower()))
                if shared:
                    found.append(
                        {
                            "file_id": file.id,
                            "filename": stored.filename,
                            "score": len(shared) / len(words),
                            "text": stored.text[:4000],
                            "attributes": file.attributes,
                        }
                    )
        found.sort(key=lambda one: -one["score"])
        return found[:limit]
