"""The schema, in numbered steps. A database gets those that it lacks when it is opened.

A step that was published is never changed: add another one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value
from assistantguard.storage.database import Database, Transaction

__all__ = ["MIGRATIONS", "Migration", "migrate"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Migration(Value):
    """One step.

    Its statements are SQL for both databases. These words stand for what differs:
    ``{identity}`` is the type of a column that numbers its rows and is their primary key, ``{numbered}`` of one that
    numbers them where ``{other_key} (columns)`` is what they are looked up by, ``{text_key}`` of text that is compared
    by its code points, ``{keyed}`` stands behind a table that is only looked up by its primary key, ``{busy}`` behind
    one whose rows change often, ``{roomy}`` behind one whose long rows do. ``BIGINT``, ``DOUBLE PRECISION`` and
    ``TEXT`` mean the same in both.
    """

    number: int
    title: str
    statements: tuple[str, ...]


_WORDS = {
    "sqlite": {
        "identity": "INTEGER PRIMARY KEY",
        "numbered": "INTEGER PRIMARY KEY",
        "other_key": "UNIQUE",
        "text_key": "TEXT",
        "keyed": "WITHOUT ROWID",
        "busy": "WITHOUT ROWID",
        "roomy": "",
    },
    "postgresql": {
        "identity": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "numbered": "BIGINT GENERATED ALWAYS AS IDENTITY",
        "other_key": "PRIMARY KEY",
        "text_key": 'TEXT COLLATE "C"',
        "keyed": "",
        "busy": "WITH (fillfactor = 50)",
        "roomy": "WITH (fillfactor = 70)",
    },
}

_LEDGER = Migration(
    1,
    "The ledger",
    (
        """CREATE TABLE guard_accounts (
            account {text_key} NOT NULL,
            metric {text_key} NOT NULL,
            committed BIGINT NOT NULL,
            held BIGINT NOT NULL,
            needed_until BIGINT,
            PRIMARY KEY (account, metric)
        ) {busy}""",
        "CREATE INDEX guard_accounts_needed_until ON guard_accounts (needed_until) WHERE needed_until IS NOT NULL",
        """CREATE TABLE guard_holds (
            id {text_key} PRIMARY KEY,
            state TEXT NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            claims TEXT NOT NULL,
            entry_id BIGINT
        ) {keyed}""",
        "CREATE INDEX guard_holds_expires_at ON guard_holds (expires_at)",
        """CREATE TABLE guard_entries (
            id {identity},
            time DOUBLE PRECISION NOT NULL,
            quarter BIGINT NOT NULL,
            hold_id TEXT NOT NULL,
            user_name {text_key},
            tenant {text_key},
            thread_id {text_key} NOT NULL,
            run_id TEXT NOT NULL,
            attempt BIGINT NOT NULL,
            model TEXT NOT NULL,
            purpose TEXT NOT NULL,
            response_id TEXT,
            input_tokens BIGINT NOT NULL,
            cached_tokens BIGINT NOT NULL,
            cache_write_tokens BIGINT NOT NULL,
            output_tokens BIGINT NOT NULL,
            reasoning_tokens BIGINT NOT NULL,
            estimated_tokens BIGINT NOT NULL,
            requests BIGINT NOT NULL,
            cost BIGINT,
            price_source TEXT,
            provisional BIGINT NOT NULL
        )""",
        "CREATE INDEX guard_entries_time ON guard_entries (time)",
        "CREATE INDEX guard_entries_thread ON guard_entries (thread_id, time)",
        "CREATE INDEX guard_entries_user ON guard_entries (user_name, time) WHERE user_name IS NOT NULL",
        "CREATE INDEX guard_entries_tenant ON guard_entries (tenant, time) WHERE tenant IS NOT NULL",
        """CREATE TABLE guard_limits (
            account {text_key} NOT NULL,
            metric {text_key} NOT NULL,
            amount BIGINT NOT NULL,
            PRIMARY KEY (account, metric)
        ) {keyed}""",
        """CREATE TABLE guard_notices (
            key {text_key} PRIMARY KEY,
            token TEXT NOT NULL,
            needed_until BIGINT
        ) {keyed}""",
        "CREATE INDEX guard_notices_needed_until ON guard_notices (needed_until) WHERE needed_until IS NOT NULL",
    ),
)

_THREADS = Migration(
    2,
    "Threads and runs",
    (
        """CREATE TABLE guard_threads (
            id {text_key} PRIMARY KEY,
            user_name {text_key} NOT NULL,
            tenant {text_key},
            name {text_key},
            folded_name {text_key},
            tags TEXT NOT NULL,
            folded_tags {text_key} NOT NULL,
            archived_at DOUBLE PRECISION,
            last_used_at DOUBLE PRECISION NOT NULL,
            generation_id {text_key},
            vector_store_id {text_key},
            owner {text_key},
            lease_until DOUBLE PRECISION NOT NULL,
            fence BIGINT NOT NULL,
            state TEXT NOT NULL
        ) {roomy}""",
        "CREATE UNIQUE INDEX guard_threads_name ON guard_threads (user_name, name) WHERE name IS NOT NULL",
        "CREATE INDEX guard_threads_user ON guard_threads (user_name)",
        "CREATE INDEX guard_threads_generation ON guard_threads (generation_id) WHERE generation_id IS NOT NULL",
        "CREATE INDEX guard_threads_store ON guard_threads (vector_store_id) WHERE vector_store_id IS NOT NULL",
        """CREATE TABLE guard_owners (
            owner {text_key} PRIMARY KEY,
            alive_until DOUBLE PRECISION NOT NULL
        ) {busy}""",
        """CREATE TABLE guard_users (
            user_name {text_key} PRIMARY KEY,
            current_thread {text_key}
        ) {keyed}""",
        """CREATE TABLE guard_runs (
            id {text_key} PRIMARY KEY,
            thread_id {text_key} NOT NULL,
            run_key {text_key},
            status TEXT NOT NULL,
            started_at DOUBLE PRECISION NOT NULL,
            finished_at DOUBLE PRECISION,
            state TEXT NOT NULL
        ) {roomy}""",
        "CREATE INDEX guard_runs_thread ON guard_runs (thread_id, started_at)",
        "CREATE INDEX guard_runs_key ON guard_runs (thread_id, run_key, started_at) WHERE run_key IS NOT NULL",
        "CREATE INDEX guard_runs_in_flight ON guard_runs (thread_id, started_at) WHERE finished_at IS NULL",
        "CREATE INDEX guard_runs_finished_at ON guard_runs (finished_at) WHERE finished_at IS NOT NULL",
        """CREATE TABLE guard_generations (
            id {text_key} PRIMARY KEY,
            thread_id {text_key} NOT NULL,
            begun_at DOUBLE PRECISION NOT NULL,
            left_at DOUBLE PRECISION,
            deleted_at DOUBLE PRECISION
        ) {keyed}""",
        "CREATE INDEX guard_generations_thread ON guard_generations (thread_id)",
        "CREATE INDEX guard_generations_kept ON guard_generations (begun_at) WHERE deleted_at IS NULL",
        """CREATE TABLE guard_vector_stores (
            id {text_key} PRIMARY KEY,
            file_hash {text_key} NOT NULL,
            expires_at DOUBLE PRECISION,
            last_used_at DOUBLE PRECISION NOT NULL
        ) {keyed}""",
        "CREATE INDEX guard_vector_stores_files ON guard_vector_stores (file_hash)",
    ),
)

_CONSENTS = Migration(
    3,
    "Consent to deletion",
    (
        """CREATE TABLE guard_consents (
            id {identity},
            words TEXT NOT NULL,
            delete_after DOUBLE PRECISION NOT NULL,
            given_at DOUBLE PRECISION NOT NULL,
            withdrawn_at DOUBLE PRECISION
        )""",
    ),
)

# Each index fits ids or lists, and none is by position alone: PostgreSQL plans while the table is empty or has few
# parents, and would take another that fits as well then, for good.
_DOCUMENTS = Migration(
    4,
    "Documents",
    (
        """CREATE TABLE guard_documents (
            position {numbered},
            kind {text_key} NOT NULL,
            id {text_key} NOT NULL,
            parent {text_key} NOT NULL,
            mark {text_key} NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            body TEXT NOT NULL,
            {other_key} (id, kind)
        ) {roomy}""",
        "CREATE INDEX guard_documents_parent ON guard_documents (parent, kind, position)",
        "CREATE INDEX guard_documents_mark ON guard_documents (parent, kind, mark, position) WHERE mark <> ''",
    ),
)

_LANES = Migration(
    5,
    "Rates",
    (
        """CREATE TABLE guard_lanes (
            name {text_key} PRIMARY KEY,
            document TEXT NOT NULL
        ) {roomy}""",
    ),
)

_REPLIES = Migration(
    6,
    "Cached replies",
    (
        "ALTER TABLE guard_entries ADD COLUMN saved_tokens BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE guard_entries ADD COLUMN saved_cost BIGINT DEFAULT 0",
        """CREATE TABLE guard_replies (
            key {text_key} PRIMARY KEY,
            reply_group {text_key} NOT NULL,
            thread_id {text_key} NOT NULL,
            stored_at DOUBLE PRECISION NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            has_question BIGINT NOT NULL,
            body TEXT NOT NULL
        ) {roomy}""",
        "CREATE INDEX guard_replies_expires_at ON guard_replies (expires_at)",
        "CREATE INDEX guard_replies_stored_at ON guard_replies (stored_at, key)",
        "CREATE INDEX guard_replies_thread ON guard_replies (thread_id)",
        "CREATE INDEX guard_replies_group ON guard_replies (reply_group, stored_at) WHERE has_question = 1",
        """CREATE TABLE guard_reply_claims (
            key {text_key} PRIMARY KEY,
            owner TEXT NOT NULL,
            until DOUBLE PRECISION NOT NULL
        ) {busy}""",
    ),
)

MIGRATIONS: tuple[Migration, ...] = (_LEDGER, _THREADS, _CONSENTS, _DOCUMENTS, _LANES, _REPLIES)
"""Every step, in order, numbered from 1."""


def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> None:
    """Bring the schema up to date; only one process does so at a time.

    Raises:
        ConfigurationError: The schema is newer than this program knows.
    """
    steps = MIGRATIONS if migrations is None else migrations
    newest = steps[-1].number if steps else 0
    if database.has_table("guard_schema") and _check(database, _version(database.query(_VERSION)), newest) == newest:
        return

    def apply(transaction: Transaction) -> None:
        database.lock_migrations(transaction)
        transaction.execute(_SCHEMA)
        version = _check(database, _version(transaction.execute(_VERSION)), newest)
        words = _WORDS[database.dialect]
        for step in steps:
            if step.number > version:
                for statement in step.statements:
                    transaction.execute(statement.format(**words))
                transaction.execute(
                    "INSERT INTO guard_schema (version, title, applied_at) VALUES (?, ?, ?)",
                    (step.number, step.title, time.time()),
                )

    database.run(apply, repeatable=True)


def _version(rows: Sequence[tuple[int | None]] | list[tuple[object, ...]]) -> int:
    version = rows[0][0]
    return version if isinstance(version, int) else 0


def _check(database: Database, version: int, newest: int) -> int:
    if version > newest:
        raise ConfigurationError(
            f"{database.url.shown!r} has schema version {version}, this assistantguard knows versions up to {newest}:"
            " upgrade it (pip install --upgrade assistantguard), or name another database"
        )
    return version


_SCHEMA = """CREATE TABLE IF NOT EXISTS guard_schema (
    version BIGINT PRIMARY KEY,
    title TEXT NOT NULL,
    applied_at DOUBLE PRECISION NOT NULL
)"""
_VERSION = "SELECT MAX(version) FROM guard_schema"
