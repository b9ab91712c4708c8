"""A document store that lives and ends with the process."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from typing_extensions import Self

from assistantguard.errors import AssistantGuardError
from assistantguard.storage.documents import (
    Document,
    DocumentExists,
    DocumentUnknown,
    Page,
    check_document,
    check_mark,
    check_page_limit,
    document_of,
    json_text,
)

__all__ = ["MemoryDocuments"]

_Row = tuple[str, str, str, float, str, str, int]
"""The fields of a document, its body as JSON text."""
_MARK = 5


class MemoryDocuments:
    """`DocumentStore` in dictionaries under one lock."""

    in_process = True

    def __init__(self) -> None:
        self._rows = _Rows()
        self._last = 0
        """The position that was given last."""

    def together(self) -> AbstractContextManager[object]:
        """See `DocumentStore.together`."""
        return self._rows

    def add(self, *documents: Document) -> None:
        """See `DocumentStore.add`."""
        for document in documents:
            check_document(document)
        texts = [json_text(document.body) for document in documents]
        with self._rows as rows:
            for document, text in zip(documents, texts, strict=True):
                if (document.kind, document.id) in rows.positions:
                    raise DocumentExists(document.kind, document.id)
                self._last += 1
                key = (document.kind, document.id, document.parent)
                rows.set(self._last, (*key, document.created_at, text, document.mark, self._last))
                document.position = self._last

    def get(self, kind: str, id: str, parent: str | None = None) -> Document | None:  # noqa: A002
        """See `DocumentStore.get`."""
        with self._rows.lock:
            row = self._rows.find(kind, id)
        return None if row is None or (parent is not None and row[2] != parent) else document_of(row)

    def change(self, kind: str, id: str, work: Callable[[Document], None]) -> Document | None:  # noqa: A002
        """See `DocumentStore.change`."""
        with self._rows as rows:
            row = rows.find(kind, id)
            if row is None:
                return None
            document = document_of(row)
            work(document)
            check_mark(document)
            rows.set(row[-1], (*row[:4], json_text(document.body), document.mark, row[-1]))
            return document

    def delete(self, kind: str, id: str) -> bool:  # noqa: A002
        """See `DocumentStore.delete`."""
        with self._rows as rows:
            row = rows.find(kind, id)
            if row is not None:
                rows.set(row[-1], None)
            return row is not None

    def delete_children(self, kind: str, parent: str) -> int:
        """See `DocumentStore.delete_children`."""
        with self._rows as rows:
            positions = [*rows.listed(kind, parent, None)]
            for position in reversed(positions):
                rows.set(position, None)
            return len(positions)

    def page(
        self,
        kind: str,
        parent: str,
        *,
        limit: int,
        descending: bool = True,
        after: str | None = None,
        before: str | None = None,
        mark: str | None = None,
    ) -> Page:
        """See `DocumentStore.page`."""
        check_page_limit(limit)
        with self._rows.lock:
            positions = self._rows.listed(kind, parent, mark)
            above, below = (before, after) if descending else (after, before)
            start = 0 if above is None else bisect_right(positions, self._cursor(kind, parent, above))
            end = len(positions) if below is None else bisect_left(positions, self._cursor(kind, parent, below))
            has_more = end - start > limit
            if has_more and descending != (after is None and before is not None):
                start = end - limit
            elif has_more:
                end = start + limit
            found = [self._rows.rows[position] for position in positions[start:end]]
        if descending:
            found.reverse()
        return Page([document_of(row) for row in found], has_more)

    def newest(self, kind: str, parent: str, mark: str | None = None) -> Document | None:
        """See `DocumentStore.newest`."""
        with self._rows.lock:
            positions = self._rows.listed(kind, parent, mark)
            row = self._rows.rows[positions[-1]] if positions else None
        return None if row is None else document_of(row)

    def _cursor(self, kind: str, parent: str, document_id: str) -> int:
        row = self._rows.find(kind, document_id)
        if row is None or row[2] != parent:
            raise DocumentUnknown(kind, document_id)
        return row[-1]


class _Rows:
    """The rows and what they are found by. Used in a ``with`` statement it is a transaction."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.rows: dict[int, _Row] = {}
        self.positions: dict[tuple[str, str], int] = {}
        """By kind and id."""
        self._lists: dict[tuple[str, str, str | None], list[int]] = {}
        """Positions in order, by kind, parent and mark, and by None in place of any mark."""
        self._depth = 0
        """Of transactions within each other."""
        self._before: list[tuple[int, _Row | None]] = []
        """What the transaction has changed, as it was."""
        self._error: BaseException | None = None
        """What went wrong in a part of it: the whole can only be undone then."""

    def __enter__(self) -> Self:
        self.lock.acquire()
        if self._error is not None:
            self.lock.release()
            raise _failed() from self._error
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._depth -= 1
            self._error = self._error or error
            if self._depth:
                return
            failure, self._error = self._error, None
            if failure is not None:
                for position, row in reversed(self._before.copy()):
                    self.set(position, row)
            self._before.clear()
            if failure is not None and error is None:
                raise _failed() from failure
        finally:
            self.lock.release()

    def find(self, kind: str, document_id: str) -> _Row | None:
        """The row of a kind and id."""
        self._check()
        position = self.positions.get((kind, document_id))
        return None if position is None else self.rows[position]

    def listed(self, kind: str, parent: str, mark: str | None) -> Sequence[int]:
        """The positions of a kind, a parent and, where one is given, a mark, in order."""
        self._check()
        return self._lists.get((kind, parent, mark), ())

    def set(self, position: int, row: _Row | None) -> None:
        """Replace the row at a position; None stands for none."""
        before = self.rows.get(position)
        self._before.append((position, before))
        if before is not None and row is not None and row[_MARK] == before[_MARK]:
            self.rows[position] = row
            return
        if before is not None:
            del self.rows[position], self.positions[before[0], before[1]]
            for key in _keys(before):
                positions = self._lists[key]
                del positions[bisect_left(positions, position)]
                if not positions:
                    del self._lists[key]
        if row is not None:
            self.rows[position] = row
            self.positions[row[0], row[1]] = position
            for key in _keys(row):
                insort(self._lists.setdefault(key, []), position)

    def _check(self) -> None:
        if self._error is not None:
            raise _failed() from self._error


def _keys(row: _Row) -> tuple[tuple[str, str, Any], ...]:
    kind, parent = row[0], row[2]
    return (kind, parent, None), (kind, parent, row[_MARK])


def _failed() -> AssistantGuardError:
    return AssistantGuardError("a part of this transaction failed before, so that nothing of it is written")
