"""The document store in a database: SQLite or PostgreSQL, by the same statements."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import chain

from assistantguard.errors import DatabaseUnavailable
from assistantguard.storage.database import Database, Row, Transaction
from assistantguard.storage.documents import (
    Document,
    DocumentExists,
    DocumentUnknown,
    Page,
    can_be_kept,
    check_document,
    check_mark,
    check_page_limit,
    document_of,
    json_text,
)

__all__ = ["SqlDocuments"]

_AT_ONCE = 50
"""How many rows one statement adds."""
_Key = tuple[str, str]


class SqlDocuments:
    """`DocumentStore` in a database.

    Args:
        database: Where documents are kept.
    """

    in_process = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locked = f"{_ONE} {database.locked}"

    def together(self) -> AbstractContextManager[object]:
        """See `DocumentStore.together`."""
        return self._database.transaction()

    def add(self, *documents: Document) -> None:
        """See `DocumentStore.add`."""
        for document in documents:
            check_document(document)
        rows = [
            (each.kind, each.id, each.parent, each.created_at, json_text(each.body), each.mark) for each in documents
        ]
        earlier: dict[_Key, int] = {}
        """What was added in a try of which it is not known whether it was written."""

        def work(transaction: Transaction) -> dict[_Key, int]:
            added: dict[_Key, int] = {}
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                got = transaction.execute(_insert(len(part)), tuple(chain.from_iterable(part)))
                if len(got) < len(part):
                    if transaction.repeated and _position(transaction, *rows[0][:2]) == earlier.get(rows[0][:2]):
                        return earlier
                    raise _existing(part, got)
                added.update(((kind, document_id), position) for kind, document_id, position in got)
            earlier.update(added)
            return added

        positions = self._database.run(work, repeatable=True)
        for document in documents:
            document.position = positions[document.kind, document.id]

    def get(self, kind: str, id: str, parent: str | None = None) -> Document | None:  # noqa: A002
        """See `DocumentStore.get`."""
        if not can_be_kept(id):
            return None
        rows = self._database.query(_ONE, (kind, id))
        return None if not rows or (parent is not None and rows[0][2] != parent) else document_of(rows[0])

    def change(self, kind: str, id: str, work: Callable[[Document], None]) -> Document | None:  # noqa: A002
        """See `DocumentStore.change`."""
        if not can_be_kept(id):
            return None
        tried: list[tuple[Row, Row]] = []
        """The row before and after each try that came so far as to write it."""
        unknown = False

        def change(transaction: Transaction) -> Document | None:
            nonlocal unknown
            rows = transaction.execute(self._locked, (kind, id))
            if not rows:
                return None
            (row,) = rows
            if transaction.repeated and tried and row != tried[-1][0]:
                unknown = row != tried[-1][1]
                return document_of(row)
            document = document_of(row)
            work(document)
            check_mark(document)
            text = json_text(document.body)
            tried.append((row, (*row[:4], text, document.mark, row[6])))
            if row != tried[-1][1]:
                transaction.execute(_CHANGE, (text, document.mark, kind, id))
            return document

        changed = self._database.run(change, repeatable=True)
        if unknown:
            raise _outcome_unknown(kind, id)
        return changed

    def delete(self, kind: str, id: str) -> bool:  # noqa: A002
        """See `DocumentStore.delete`."""
        return can_be_kept(id) and self._delete(_DELETE, kind, id) > 0

    def delete_children(self, kind: str, parent: str) -> int:
        """See `DocumentStore.delete_children`."""
        return self._delete(_DELETE_CHILDREN, kind, parent) if can_be_kept(parent) else 0

    def _delete(self, statement: str, *key: str) -> int:
        most = 0

        def work(transaction: Transaction) -> int:
            nonlocal most
            most = max(most, len(transaction.execute(statement, key)))
            return most  # what an earlier try may have deleted counts

        return self._database.run(work, repeatable=True)

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
        cursors = [cursor for cursor in (after, before) if cursor is not None]
        fit = can_be_kept(parent)
        for cursor in cursors:
            if not (fit and can_be_kept(cursor)):
                raise DocumentUnknown(kind, cursor)
        rows: list[Row] = []
        downwards = descending != (after is None and before is not None)
        if fit and can_be_kept(mark or ""):
            condition, parameters = _marked(kind, parent, mark)
            for cursor in cursors:
                parameters += (parent, kind, cursor)
            statement = _page(condition, descending, downwards, after is not None, before is not None)
            rows = self._database.query(statement, (*parameters, limit + 1))
        if not rows and cursors:
            self._check_cursors(kind, parent, cursors)
        has_more = len(rows) > limit
        if has_more:
            del rows[limit:]
        if downwards != descending:
            rows.reverse()
        return Page([document_of(row) for row in rows], has_more)

    def newest(self, kind: str, parent: str, mark: str | None = None) -> Document | None:
        """See `DocumentStore.newest`."""
        if not (can_be_kept(parent) and can_be_kept(mark or "")):
            return None
        condition, parameters = _marked(kind, parent, mark)
        rows = self._database.query(_NEWEST[condition], parameters)
        return document_of(rows[0]) if rows else None

    def _check_cursors(self, kind: str, parent: str, cursors: Sequence[str]) -> None:
        rows = self._database.query(_PARENTS, (kind, cursors[0], cursors[-1]))
        for cursor in cursors:
            if (cursor, parent) not in rows:
                raise DocumentUnknown(kind, cursor)


def _position(transaction: Transaction, kind: str, document_id: str) -> int | None:
    rows = transaction.execute(_ONE, (kind, document_id))
    return rows[0][-1] if rows else None


def _existing(rows: Sequence[Row], added: Sequence[Row]) -> DocumentExists:
    """The refusal of the first of `rows` that was not added, or is in them twice."""
    left = {(kind, document_id) for kind, document_id, _ in added}
    for kind, document_id, *_ in rows:
        if (kind, document_id) not in left:
            return DocumentExists(kind, document_id)
        left.remove((kind, document_id))
    raise AssertionError("all were added")


def _outcome_unknown(kind: str, document_id: str) -> DatabaseUnavailable:
    error = DatabaseUnavailable(
        f"the connection was lost while the {kind} {document_id!r} was written, and somebody else has changed it since:"
        " read it again, and repeat the change if it is not in it"
    )
    error.outcome_unknown = True
    return error


def _marked(kind: str, parent: str, mark: str | None) -> tuple[str, tuple[object, ...]]:
    """The condition for a mark, and the first parameters of a statement with it."""
    if mark is None:
        return _ANY_MARK, (kind, parent)
    return (_THIS_MARK, (kind, parent, mark)) if mark else (_NO_MARK, (kind, parent))


@functools.cache
def _insert(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * count)
    return f"{_INTO} VALUES {rows} ON CONFLICT (id, kind) DO NOTHING RETURNING kind, id, position"


@functools.cache
def _page(condition: str, descending: bool, downwards: bool, after: bool, before: bool) -> str:
    """The statement for a page, its cursors' parameters in the order after, before."""
    beyond = ("<", ">") if descending else (">", "<")
    bounds = "".join(
        f" AND position {sign} ({_PLACE})" for sign, given in zip(beyond, (after, before), strict=True) if given
    )
    return f"{_MANY}{condition}{bounds} ORDER BY position {'DESC' if downwards else 'ASC'} LIMIT ?"


_INTO = "INSERT INTO guard_documents (kind, id, parent, created_at, body, mark)"
_ROWS = "SELECT kind, id, parent, created_at, body, mark, position FROM guard_documents"
_ONE = f"{_ROWS} WHERE kind = ? AND id = ?"
_MANY = f"{_ROWS} WHERE kind = ? AND parent = ?"
_ANY_MARK, _NO_MARK = "", " AND mark = ''"
_THIS_MARK = " AND mark = ? AND mark <> ''"
"""The second part is what the index of marks holds for: a planner does not know the parameter."""
_NEWEST = {each: f"{_MANY}{each} ORDER BY position DESC LIMIT 1" for each in (_ANY_MARK, _NO_MARK, _THIS_MARK)}
_PLACE = "SELECT CASE WHEN parent = ? THEN position END FROM guard_documents WHERE kind = ? AND id = ?"
_PARENTS = "SELECT id, parent FROM guard_documents WHERE kind = ? AND id IN (?, ?)"
_CHANGE = "UPDATE guard_documents SET body = ?, mark = ? WHERE kind = ? AND id = ?"
_DELETE = "DELETE FROM guard_documents WHERE kind = ? AND id = ? RETURNING 1"
_DELETE_CHILDREN = "DELETE FROM guard_documents WHERE kind = ? AND parent = ? RETURNING 1"
