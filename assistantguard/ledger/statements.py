"""The ledger's statements: plain SQL that SQLite and PostgreSQL both understand."""

from __future__ import annotations

import functools

from assistantguard.ledger.rows import ENTRY_COLUMNS

__all__ = [
    "ADD_COMMITTED",
    "ANY_DUE",
    "AN_ENTRY",
    "AT_ONCE",
    "A_HOLD",
    "BALANCE",
    "CHANGE_ENTRY",
    "END_ESTIMATE",
    "END_HOLD",
    "ENTRIES",
    "EXPIRE",
    "FORGET",
    "GROUP_COLUMNS",
    "IS_EXPIRED",
    "KEEP_AS_ESTIMATE",
    "NEEDED_LONGER",
    "NEW_ENTRY",
    "NEW_ESTIMATE",
    "NEW_HOLD",
    "NEW_NOTICE",
    "NOTE_ENTRY",
    "NOTICE",
    "NO_LIMIT",
    "OLD_ACCOUNTS",
    "OLD_ESTIMATES",
    "OLD_NOTICES",
    "OPEN_HOLDS",
    "SAME_ENTRY",
    "SET_LIMIT",
    "SUMS",
    "add_to",
    "end_and_add",
    "hold_and_add",
    "hold_if_it_fits",
    "limits_of",
    "some_of",
]

AT_ONCE = 100
"""Holds that expire in one transaction."""
_COLUMNS = ", ".join(ENTRY_COLUMNS)
_DUE = "expires_at <= ? AND state = 'open'"
NEW_HOLD = (
    "INSERT INTO guard_holds (id, state, expires_at, claims) VALUES (?, 'open', ?, ?)"
    " ON CONFLICT (id) DO NOTHING RETURNING id"
)
A_HOLD = "SELECT claims, expires_at FROM guard_holds WHERE id = ?"
END_HOLD = "DELETE FROM guard_holds WHERE id = ? AND state = 'open' RETURNING claims, expires_at"
KEEP_AS_ESTIMATE = (
    "UPDATE guard_holds SET state = 'estimated' WHERE id = ? AND state = 'open' RETURNING claims, expires_at"
)
NOTE_ENTRY = "UPDATE guard_holds SET entry_id = ? WHERE id = ?"
IS_EXPIRED = "SELECT 1 FROM guard_holds WHERE id = ? AND state = 'expired'"
END_ESTIMATE = "DELETE FROM guard_holds WHERE id = ? AND state <> 'open' RETURNING claims, expires_at, entry_id"
NEW_ESTIMATE = "INSERT INTO guard_holds (id, state, expires_at, claims, entry_id) VALUES (?, 'estimated', ?, ?, ?)"
EXPIRE = (
    f"UPDATE guard_holds SET state = 'expired' WHERE id IN (SELECT id FROM guard_holds WHERE {_DUE}"  # noqa: S608
    f" ORDER BY id LIMIT {AT_ONCE} {{skip_locked}}) RETURNING id, claims, expires_at"
)
ANY_DUE = f"SELECT 1 FROM guard_holds WHERE {_DUE} LIMIT 1"  # noqa: S608
OPEN_HOLDS = "SELECT id, claims, expires_at FROM guard_holds WHERE state = 'open' ORDER BY expires_at, id"
NEW_ENTRY = f"INSERT INTO guard_entries ({_COLUMNS}) VALUES ({', '.join('?' * len(ENTRY_COLUMNS))}) RETURNING id"  # noqa: S608
AN_ENTRY = f"SELECT {_COLUMNS} FROM guard_entries WHERE id = ?"  # noqa: S608
ENTRIES = f"SELECT {_COLUMNS} FROM guard_entries ORDER BY id"  # noqa: S608
CHANGE_ENTRY = f"UPDATE guard_entries SET {' = ?, '.join(ENTRY_COLUMNS)} = ? WHERE id = ?"  # noqa: S608
SAME_ENTRY = "SELECT 1 FROM guard_entries WHERE time = ? AND hold_id = ? AND input_tokens = ? AND output_tokens = ?"
ADD_COMMITTED = "UPDATE guard_accounts SET committed = committed + ? WHERE account = ? AND metric = ?"
NEEDED_LONGER = "UPDATE guard_accounts SET needed_until = ? WHERE account = ? AND metric = ?"
BALANCE = "SELECT committed, held FROM guard_accounts WHERE account = ? AND metric = ?"
FORGET = "DELETE FROM guard_accounts WHERE account = ? AND held = 0"
NO_LIMIT = "DELETE FROM guard_limits WHERE account = ? AND metric = ?"
SET_LIMIT = (
    "INSERT INTO guard_limits (account, metric, amount) VALUES (?, ?, ?)"
    " ON CONFLICT (account, metric) DO UPDATE SET amount = excluded.amount"
)
NOTICE = "SELECT token FROM guard_notices WHERE key = ?"
NEW_NOTICE = (
    "INSERT INTO guard_notices (key, token, needed_until) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
)
OLD_ESTIMATES = "FROM guard_holds WHERE expires_at < ? AND state <> 'open'"
OLD_ACCOUNTS = "FROM guard_accounts WHERE needed_until < ? AND held = 0"
OLD_NOTICES = "FROM guard_notices WHERE needed_until < ?"
_KEYS = {OLD_ESTIMATES: "id", OLD_ACCOUNTS: "account, metric", OLD_NOTICES: "key"}
GROUP_COLUMNS = {
    "day": "quarter",
    "model": "model",
    "purpose": "purpose",
    "run": "run_id",
    "tenant": "tenant",
    "thread": "thread_id",
    "user": "user_name",
}
SUMS = (
    "SUM(input_tokens)",
    "SUM(cached_tokens)",
    "SUM(cache_write_tokens)",
    "SUM(output_tokens)",
    "SUM(reasoning_tokens)",
    "SUM(estimated_tokens)",
    "SUM(requests)",
    "SUM(cost)",
    "SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END)",
    "COUNT(*)",
    "SUM(CASE WHEN purpose = 'reply_cache' THEN 1 ELSE 0 END)",
    "SUM(saved_tokens)",
    "SUM(saved_cost)",
)
_ADD = (
    "INSERT INTO guard_accounts AS kept (account, metric, committed, held, needed_until) {rows}"
    " ON CONFLICT (account, metric) DO UPDATE SET committed = kept.committed + excluded.committed,"
    " held = kept.held + excluded.held"
    " RETURNING account, metric, committed, held, needed_until"
)
_TYPED = "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))"
_WANTED = "SELECT account, metric, 0, held, needed_until FROM wanted WHERE EXISTS (SELECT 1 FROM made) ORDER BY 1, 2"
_IF_IT_FITS = (
    "WITH wanted (account, metric, held, needed_until, most) AS (VALUES {rows}),"
    " standing AS (SELECT kept.total + wanted.held AS total, wanted.most FROM wanted, LATERAL"
    " (SELECT committed + held AS total FROM guard_accounts"
    " WHERE account = wanted.account AND metric = wanted.metric FOR UPDATE) AS kept),"
    " made AS (INSERT INTO guard_holds (id, state, expires_at, claims)"
    " SELECT CAST(? AS TEXT), 'open', CAST(? AS DOUBLE PRECISION), CAST(? AS TEXT)"
    " WHERE (SELECT COUNT(*) FROM standing WHERE total <= most) = ?"
    " ON CONFLICT (id) DO NOTHING RETURNING id)"
    " {add}"
)
_MADE = f"made AS ({NEW_HOLD})"
_ENDED = f"ended AS ({END_HOLD})"
_MONEY = ("cost", "saved_cost")
_VALUES = ", ".join("CAST(? AS BIGINT)" if column in _MONEY else "?" for column in ENTRY_COLUMNS)
_WRITTEN = f"written AS (INSERT INTO guard_entries ({_COLUMNS}) SELECT {_VALUES} FROM ended)"  # noqa: S608


@functools.lru_cache(maxsize=64)
def add_to(accounts: int) -> str:
    """Add to so many accounts, each given by name, metric, committed, held and the end of its need."""
    return _ADD.format(rows=f"VALUES {', '.join(['(?, ?, ?, ?, ?)'] * accounts)}")


def _add_where(exists: str, accounts: int) -> str:
    rows = f"SELECT * FROM (VALUES {', '.join([_TYPED] * accounts)}) AS change WHERE {exists} ORDER BY 1, 2"  # noqa: S608
    return _ADD.format(rows=rows)


@functools.lru_cache(maxsize=64)
def hold_and_add(accounts: int) -> str:
    """`NEW_HOLD` and `add_to` in one statement, for a database in which WITH may write; no rows if the hold stands."""
    return f"WITH {_MADE} {_add_where('EXISTS (SELECT 1 FROM made)', accounts)}"  # noqa: S608


@functools.lru_cache(maxsize=64)
def hold_if_it_fits(accounts: int) -> str:
    """A hold in one statement, if it fits; no rows if it does not, if the hold stands, or if a row is missing.

    Each account is given by name, metric, held, the end of its need and its limit; then come the hold and how many
    accounts have a limit. Rows are locked before they are looked at, so that what fits still fits when it is written. A
    row that is not there cannot be locked.
    """
    return _IF_IT_FITS.format(rows=", ".join([_TYPED] * accounts), add=_ADD.format(rows=_WANTED))


@functools.lru_cache(maxsize=64)
def end_and_add(accounts: int) -> str:
    """`END_HOLD`, `NEW_ENTRY` and `add_to` in one statement; no rows if the hold has ended."""
    return f"WITH {_ENDED}, {_WRITTEN} {_add_where('EXISTS (SELECT 1 FROM ended)', accounts)}"  # noqa: S608


def some_of(rows: str) -> str:
    """A statement that deletes some of `rows`, and no more, so that others need not wait long."""
    key = _KEYS[rows]
    return f"DELETE {rows} AND ({key}) IN (SELECT {key} {rows} ORDER BY {key} LIMIT {AT_ONCE})"


@functools.lru_cache(maxsize=64)
def limits_of(keys: int) -> str:
    """The limits of so many accounts."""
    return f"SELECT account, metric, amount FROM guard_limits WHERE account IN ({', '.join('?' * keys)})"  # noqa: S608
