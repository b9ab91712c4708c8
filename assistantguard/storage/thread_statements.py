"""The statements of the thread store, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Collection

from assistantguard.storage.records import folded
from assistantguard.storage.threads import ThreadFilter

__all__ = [
    "ALIVE",
    "BY_KEY",
    "COLUMNS",
    "CURRENT",
    "FROM",
    "INSERT",
    "IN_FLIGHT",
    "LEAVE",
    "LOCK_USER",
    "NAMED",
    "PRUNE_RUNS",
    "SAVE",
    "SAVE_AND_CLOSE",
    "SAVE_RUN",
    "TAKE",
    "TAKEN",
    "UNFINISHED",
    "conditions",
    "folded_tags",
]

COLUMNS = (
    "t.id, t.user_name, t.tenant, t.name, t.tags, t.archived_at, t.last_used_at, t.state,"
    " CASE WHEN u.current_thread = t.id THEN 1 ELSE 0 END"
)
FROM = "FROM guard_threads t LEFT JOIN guard_users u ON u.user_name = t.user_name"
TAKE = (
    "UPDATE guard_threads SET owner = ?, lease_until = ?, fence = fence + 1 WHERE id = ? AND user_name = ?"
    " AND (owner IS NULL OR owner = ? OR (lease_until <= ? AND NOT EXISTS"
    " (SELECT 1 FROM guard_owners WHERE guard_owners.owner = guard_threads.owner AND alive_until > ?)))"
    " RETURNING fence, id, user_name, tenant, name, tags, archived_at, last_used_at, state"
)
TAKEN = (
    "SELECT t.owner, CASE WHEN o.alive_until > t.lease_until THEN o.alive_until ELSE t.lease_until END"
    " FROM guard_threads t LEFT JOIN guard_owners o ON o.owner = t.owner WHERE t.id = ? AND t.user_name = ?"
)
BY_KEY = "SELECT state FROM guard_runs WHERE thread_id = ? AND run_key = ? ORDER BY started_at DESC, id DESC LIMIT 1"
IN_FLIGHT = (
    "SELECT state FROM guard_runs WHERE thread_id = ? AND finished_at IS NULL ORDER BY started_at DESC, id DESC LIMIT 1"
)
ALIVE = (
    "INSERT INTO guard_owners (owner, alive_until) VALUES (?, ?)"
    " ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until"
)
SAVE = (
    "UPDATE guard_threads SET state = ?, last_used_at = ?, generation_id = ?, vector_store_id = ?"
    " WHERE id = ? AND fence = ? RETURNING id"
)
SAVE_AND_CLOSE = SAVE.replace(" WHERE", ", owner = NULL WHERE")
SAVE_RUN = (
    "INSERT INTO guard_runs (id, thread_id, run_key, status, started_at, finished_at, state)"
    " SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS DOUBLE PRECISION),"
    " CAST(? AS DOUBLE PRECISION), CAST(? AS TEXT) FROM guard_threads WHERE id = ? AND fence = ? {locked}"
    " ON CONFLICT (id) DO UPDATE SET status = excluded.status, finished_at = excluded.finished_at,"
    " state = excluded.state RETURNING id"
)
"""Nothing is written, and no row comes back, where another has the thread."""
UNFINISHED = (
    "SELECT t.id, t.user_name, r.id FROM guard_runs r JOIN guard_threads t ON t.id = r.thread_id"
    " WHERE r.finished_at IS NULL AND (t.owner IS NULL OR (t.lease_until <= ? AND NOT EXISTS"
    " (SELECT 1 FROM guard_owners o WHERE o.owner = t.owner AND o.alive_until > ?)))"
    " ORDER BY r.started_at, r.id LIMIT ?"
)
PRUNE_RUNS = "DELETE FROM guard_runs WHERE id IN (SELECT id FROM guard_runs WHERE finished_at < ? LIMIT ?) RETURNING id"
CURRENT = (
    f"SELECT {COLUMNS} {FROM} WHERE t.user_name = ? AND t.archived_at IS NULL"
    " AND (t.name IS NULL OR u.current_thread = t.id)"
    " ORDER BY 9 DESC, t.last_used_at DESC, t.id DESC LIMIT 1"
)
LOCK_USER = (
    "INSERT INTO guard_users (user_name) VALUES (?)"
    " ON CONFLICT (user_name) DO UPDATE SET user_name = excluded.user_name"
)
LEAVE = "UPDATE guard_users SET current_thread = NULL WHERE user_name = ? AND current_thread = ?"
NAMED = "SELECT COUNT(*) FROM guard_threads WHERE user_name = ? AND name IS NOT NULL AND archived_at IS NULL"
INSERT = (
    "INSERT INTO guard_threads (id, user_name, tenant, name, folded_name, tags, folded_tags, archived_at, last_used_at,"
    " generation_id, vector_store_id, state, lease_until, fence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)"
    " ON CONFLICT (id) DO NOTHING"
)


def folded_tags(tags: Collection[str]) -> str:
    """Tags as they are searched, each between two line breaks, which no tag has."""
    return "\n".join(["", *map(folded, tags), ""])


def _containing(text: str) -> str:
    """A pattern for ``LIKE … ESCAPE '!'`` in which every character stands for itself."""
    return "%" + text.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"


def conditions(wanted: ThreadFilter) -> tuple[list[str], list[object]]:
    """What a filter asks for, as conditions and their parameters."""
    parts: list[str] = []
    parameters: list[object] = []

    def ask(condition: str, *values: object) -> None:
        parts.append(condition)
        parameters.extend(values)

    if not wanted.everyone:
        ask("t.user_name = ?", wanted.user or "")
    if wanted.tenant is not None:
        ask("t.tenant = ?", wanted.tenant)
    if wanted.archived is not None:
        ask("t.archived_at IS NOT NULL" if wanted.archived else "t.archived_at IS NULL")
    if wanted.name is not None:
        ask("t.name = ?", wanted.name)
    if wanted.text:
        pattern = _containing(folded(wanted.text))
        ask("(t.folded_name LIKE ? ESCAPE '!' OR t.folded_tags LIKE ? ESCAPE '!')", pattern, pattern)
    if wanted.tag is not None:
        ask("t.folded_tags LIKE ? ESCAPE '!'", _containing(f"\n{folded(wanted.tag)}\n"))
    if wanted.used_before is not None:
        ask("t.last_used_at < ?", wanted.used_before)
    if wanted.archived_before is not None:
        ask("t.archived_at < ?", wanted.archived_before)
    if wanted.after is not None:
        at, thread_id = wanted.after
        ask("(t.last_used_at < ? OR (t.last_used_at = ? AND t.id < ?))", at, at, thread_id)
    return parts, parameters
