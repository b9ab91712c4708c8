"""The statements of a pair through pgbench, PostgreSQL's own benchmark, which is written in C."""

from __future__ import annotations

import math
import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from assistantguard.ledger import statements
from assistantguard.ledger.rows import ENTRY_COLUMNS, claims_text, entry_values, held_by, to_units
from benchmarks._ledger_work import COST_HELD, COST_USED, HELD, HOT, MANY, USED, claims, entry
from benchmarks._postgres import PostgresServer

__all__ = ["pgbench", "script"]


def script(accounts: str) -> str:
    """A pair as pgbench reads it: the same statements, with rows of the same size.

    What follows a colon it takes for a variable, even in quotes, so that names have dots in their place.
    """
    account = _literal(HOT) if accounts == "hot" else "('user.u-' || (:account)::text || '@month.2026-11')"
    run, session, hold = "('run.' || (:run)::text)", "('session.' || (:client_id)::text)", "('hold_' || (:hold)::text)"
    held = {"tokens": HELD, "cost": to_units("cost", COST_HELD)}
    used = {"tokens": USED, "cost": to_units("cost", COST_USED)}
    rows = [(account, "tokens"), (run, "cost"), (run, "tokens"), (session, "cost"), (session, "tokens")]
    kept = claims(0, HOT)
    text = claims_text(kept, held_by(kept, 2e9))
    written = dict(zip(ENTRY_COLUMNS, entry_values("", entry("run_1")), strict=True))
    values = [_literal(value) for value in {**written, "hold_id": None}.values()]
    values[ENTRY_COLUMNS.index("hold_id")] = hold
    reserved = [value for name, metric in rows for value in (name, f"'{metric}'", "0", held[metric], "NULL")]
    settled = [value for name, metric in rows for value in (name, f"'{metric}'", used[metric], -held[metric], "NULL")]
    upsert = statements.add_to(len(rows))
    commands = [
        "BEGIN",
        _filled(statements.NEW_HOLD, [hold, "2e9", _literal(text)]),
        _filled(upsert, reserved),
        "COMMIT",
        "BEGIN",
        _filled(statements.END_HOLD, [hold]),
        _filled(statements.NEW_ENTRY, values),
        _filled(upsert, settled),
        "COMMIT",
    ]
    numbers = [r"\set hold random(1, 1000000000000000)", r"\set run random(1, 1000000000000000)"]
    if accounts != "hot":
        numbers.append(rf"\set account random(0, {MANY - 1})")
    return "\n".join([*numbers, *(f"{command};" for command in commands)]) + "\n"


def pgbench(server: PostgresServer, schema: str, accounts: str, clients: int, seconds: float) -> float:
    """Pairs per second of so many clients."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{uuid.uuid4().hex}.sql"
        path.write_text(script(accounts))
        threads = min(clients, os.cpu_count() or 1)
        done = subprocess.run(
            [
                str(server.program("pgbench")),
                *("-h", str(server.socket_directory), "-U", "postgres"),
                *("-n", "-M", "prepared", "-c", str(clients), "-j", str(threads)),
                *("-T", str(math.ceil(seconds)), "-f", str(path), "postgres"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGOPTIONS": f"-csearch_path={schema}"},
        )
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench failed: {done.stdout} {done.stderr}")
    return float(found[1])


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''").replace(":", ".") + "'" if isinstance(value, str) else repr(value)


def _filled(statement: str, values: Sequence[object]) -> str:
    first, *others = statement.split("?")
    return first + "".join(f"{value}{other}" for value, other in zip(values, others, strict=True))
