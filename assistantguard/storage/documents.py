"""Where JSON objects are kept under ids: assistants, threads, messages, runs and steps as the old API shows them.

A document belongs to a kind and, most of them, to a parent. The documents of a kind and a parent are in the order in
which they were added, and are listed page by page.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from assistantguard.errors import AssistantGuardError, ConfigurationError
from assistantguard.models.values import Record, Value

if TYPE_CHECKING:
    from assistantguard.ledger import Ledger
    from assistantguard.storage.database import Database

__all__ = [
    "LONGEST_ID",
    "LONGEST_KIND",
    "Document",
    "DocumentExists",
    "DocumentStore",
    "DocumentUnknown",
    "Page",
    "can_be_kept",
    "check_document",
    "check_mark",
    "check_page_limit",
    "document_of",
    "json_text",
    "open_documents",
]

LONGEST_ID = 256
"""Characters of an id, a parent or a mark: with more of them they do not fit a database's index."""
LONGEST_KIND = 64
"""Characters."""


@dataclass(slots=True, eq=False, repr=False)
class Document(Record):
    """A JSON object with what it is found by. The object is the holder's own: changing it changes nothing kept."""

    kind: str
    """Such as ``assistant``, ``thread``, ``message``, ``run``, ``step``."""
    id: str
    """Unique within its kind."""
    parent: str
    """What it belongs to: the thread of a message or a run, the run of a step; ``""`` where it has none."""
    created_at: float
    """Unix time, seconds."""
    body: dict[str, Any]
    """A JSON object."""
    mark: str = ""
    """A second key, which lists filter by: the run of a message, the class of status of a run."""
    position: int = 0
    """Given by the store, and what lists are ordered by: greater than that of each document that is there already.

    PostgreSQL gives it when a document is added, not when the transaction ends. Of two that are added at once the
    later one may therefore be seen first, and whoever reads upwards page by page in between passes over the other.
    Who needs all of them adds to one parent in one place at a time. Numbers may be left out, and SQLite gives that of
    the newest document again when it was deleted.
    """


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Page(Value):
    """A part of a list."""

    documents: Sequence[Document]
    """In the order that was asked for."""
    has_more: bool
    """Whether there are further ones in the direction that was read in."""


class DocumentExists(ConfigurationError):
    """There is a document of this kind and id already."""

    def __init__(self, kind: str, document_id: str) -> None:
        super().__init__(f"there is a {kind} {document_id!r} already: give another id, or delete that one first")
        self.kind = kind
        self.id = document_id


class DocumentUnknown(AssistantGuardError):
    """A list was to begin or end at a document that is not of that kind and parent."""

    def __init__(self, kind: str, document_id: str) -> None:
        super().__init__(f"there is no {kind} {document_id!r} here")
        self.kind = kind
        self.id = document_id


class DocumentStore(Protocol):
    """Blocking, atomic, and safe to call from several threads.

    Bodies are copied through JSON on their way in and out: what the caller does with its own touches nothing kept.
    An id that no database could keep (a NUL, a lone surrogate) is that of no document.
    """

    @property
    def in_process(self) -> bool:
        """Whether calls return at once (no file, no network), so that an event loop may make them itself."""
        ...

    def together(self) -> AbstractContextManager[object]:
        """Make what is done inside, on this thread of the program, one transaction.

        A ledger and a thread store on the same database take part in it; those in memory do not. An exception that
        leaves it, or a part of it, undoes the whole. Other threads wait, so nothing may be awaited inside.

        Raises:
            AssistantGuardError: At the end, and in further parts: a part failed before, and its error was caught.
        """
        ...

    def add(self, *documents: Document) -> None:
        """Add all documents or none, in this order, and set their `position`.

        Raises:
            DocumentExists: There is one of that kind and id already.
            ConfigurationError: A kind, id, parent or mark is too long or cannot be kept.
            TypeError: A body is no JSON.
        """
        ...

    def get(self, kind: str, id: str, parent: str | None = None) -> Document | None:  # noqa: A002  as in Document
        """The document of this kind and id; with `parent`, only if it is of that parent."""
        ...

    def change(self, kind: str, id: str, work: Callable[[Document], None]) -> Document | None:  # noqa: A002
        """Read a document, let `work` change its `body` or `mark`, and write it, with nobody else in between.

        Args:
            kind: Of which kind.
            id: Which one.
            work: Called with a copy. Once, or, where a database undid the transaction, again with a fresh one. What
                it raises goes through, and nothing is written. What else it changes of the document is not kept.

        Returns:
            The document as it is now, or None where there is none.

        Raises:
            DatabaseUnavailable: It could not be done; or `outcome_unknown`.
            TypeError: The body is no JSON any more.
        """
        ...

    def delete(self, kind: str, id: str) -> bool:  # noqa: A002
        """Forget a document; return whether there was one. Those that it is the parent of stay."""
        ...

    def delete_children(self, kind: str, parent: str) -> int:
        """Forget all documents of a kind and parent; return how many."""
        ...

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
        """List documents of a kind and parent.

        Args:
            kind: Of which kind.
            parent: Of which parent.
            limit: How many at most, 1 or more.
            descending: Whether the one that was added last is first.
            after: The id of a document, of the same kind and parent but with any mark: those that follow it.
            before: As `after`: those that precede it. Without `after` the ones nearest to it, in the asked order.
            mark: Those with this mark only; ``""`` for those without one.

        Raises:
            DocumentUnknown: `after` or `before` is not among the documents of that kind and parent.
            ConfigurationError: `limit` is below 1.
        """
        ...

    def newest(self, kind: str, parent: str, mark: str | None = None) -> Document | None:
        """The document of a kind and parent, and of that mark where one is given, that was added last."""
        ...


_in_memory: weakref.WeakKeyDictionary[Ledger, DocumentStore] = weakref.WeakKeyDictionary()
_opening = threading.Lock()


def open_documents(ledger: Ledger) -> DocumentStore:
    """Where documents are kept: where the books are.

    Args:
        ledger: The books. With a `database`, documents are kept in that; otherwise in memory, as long as the ledger is
            there. All stores of one ledger have the same documents.
    """
    database: Database | None = getattr(ledger, "database", None)
    if database is not None:
        from assistantguard.storage.sql_documents import SqlDocuments

        return SqlDocuments(database)
    from assistantguard.storage.memory_documents import MemoryDocuments

    with _opening:
        store = _in_memory.get(ledger)
        if store is None:
            store = _in_memory[ledger] = MemoryDocuments()
        return store


def document_of(row: Sequence[Any]) -> Document:
    """A document from what is kept: its fields in their order, the body as JSON text."""
    kind, document_id, parent, created_at, text, mark, position = row
    return Document(kind, document_id, parent, created_at, _decode(text)[0], mark, position)


json_text: Callable[[object], str] = json.JSONEncoder(separators=(",", ":")).encode
"""What is kept of a body. All of it is ASCII, so that every text fits."""
_decode = json.JSONDecoder().raw_decode


def can_be_kept(text: str) -> bool:
    """Whether a database can hold a text as it is: nothing has an id that cannot be kept."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text))


def check_document(document: Document) -> None:
    """See to it that a document can be kept.

    Raises:
        ConfigurationError: It cannot.
    """
    _check("kind", document.kind, LONGEST_KIND)
    _check("id", document.id, LONGEST_ID)
    _check("parent", document.parent, LONGEST_ID)
    check_mark(document)
    if not document.kind or not document.id:
        raise ConfigurationError(
            f"a document has the kind {document.kind!r} and the id {document.id!r}: neither may be empty, give both"
        )


def check_mark(document: Document) -> None:
    """See to it that the mark of a document can be kept, where the rest of what it is found by is kept already.

    Raises:
        ConfigurationError: It cannot.
    """
    if document.mark:
        _check("mark", document.mark, LONGEST_ID)


def _check(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise ConfigurationError(
            f"the {name} of a document, {text[:40]!r}…, has {len(text):,} characters, at most {most} are allowed:"
            " shorten it"
        )
    if not can_be_kept(text):
        raise ConfigurationError(
            f"the {name} of a document is {text!r}: NUL and lone surrogates cannot be kept, leave them out"
        )


def check_page_limit(limit: int) -> None:
    """See to it that a page has room.

    Raises:
        ConfigurationError: It has not.
    """
    if limit < 1:
        raise ConfigurationError(f"a page of {limit} documents was asked for: ask for at least 1")
