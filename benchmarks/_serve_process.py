"""``assistantguard serve`` in a process of its own, which tells how it stands: descriptors, threads, tasks, memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistantguard.cli.app import app
from benchmarks._soak_memory import give_back, resident_bytes

__all__ = ["DATABASE", "ServeProcess", "Standing"]

DATABASE = "guard.db"
"""What the database is called."""
_DESCRIPTORS = Path("/dev/fd")


@dataclass(frozen=True, slots=True)
class Standing:
    """How the process stands."""

    descriptors: int
    """Open files, sockets and pipes, without the database's."""
    of_database: int
    """Those of the database: each worker, and whoever renews leases, may keep a connection."""
    threads: int
    """Without the workers."""
    workers: int
    """Threads of asyncio's pool, which has a largest size."""
    tasks: int
    memory: int
    """Bytes that are in memory."""


def _measured(loop: asyncio.AbstractEventLoop, *, tidy: bool) -> Standing:
    if tidy:
        give_back()
    opened = _open()
    of_database = sum(count for what, count in opened.items() if DATABASE in what)
    names = [thread.name for thread in threading.enumerate()]
    workers = sum(name.startswith("asyncio_") for name in names)
    return Standing(
        sum(opened.values()) - of_database,
        of_database,
        len(names) - workers,
        workers,
        len(asyncio.all_tasks(loop)),
        resident_bytes(),
    )


def _open() -> Counter[str]:
    """How many descriptors are open, by what they are of."""
    found: Counter[str] = Counter()
    for one in list(_DESCRIPTORS.iterdir()):
        try:
            found[re.sub(r"[\d\[\]]+", "", str(one.readlink()))] += 1
        except FileNotFoundError:  # the listing's own
            continue
        except OSError:  # the system does not tell
            found["?"] += 1
    return found


def _answer_questions() -> None:
    """Answer the parent's questions until it is gone."""
    loop: asyncio.AbstractEventLoop | None = None
    for line in sys.stdin:
        if loop is None:
            loops = (one for one in gc.get_objects() if isinstance(one, asyncio.AbstractEventLoop))
            loop = next(one for one in loops if one.is_running())
        question = line.strip()
        if question == "kinds":
            threads = Counter(re.sub(r"[_-]\d+", "", thread.name) for thread in threading.enumerate())
            answer: Any = {**_open(), **threads}
        else:
            standing = _measured(loop, tidy=question == "tidy")
            answer = [getattr(standing, name) for name in Standing.__slots__]
        print(json.dumps(answer), flush=True)


class ServeProcess:
    """A server before a model's, and a line to it.

    Args:
        upstream: Base URL of the model's server.
        upstream_key: Its key.
        keys: A file with the server's own.
        database: URL of the ledger.
        options: Further ones of ``assistantguard serve``.
    """

    def __init__(self, upstream: str, upstream_key: str, keys: Path, database: str, options: list[str]) -> None:
        arguments = ["--port", "0", "--key-file", str(keys), "--ledger", database, *options]
        environment = {**os.environ, "OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": upstream_key, "COLUMNS": "300"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._serve_process", "serve", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._questions, self._answers, self._remarks = self._process.stdin, self._process.stdout, self._process.stderr
        self._lock = threading.Lock()
        self.remarks: list[str] = []
        """What it wrote to its standard error after it began."""
        began = self._remarks.readline()
        found = re.search(r"http://\S+/v1", began)
        if found is None:
            self._process.kill()
            raise RuntimeError(f"the server did not begin: {began}{self._remarks.read()}")
        self.base_url: str = found[0]
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        self.remarks.extend(line.rstrip() for line in self._remarks)

    def standing(self, *, tidy: bool = False) -> Standing:
        """How it stands; with `tidy` after garbage was collected and free memory given back to the system."""
        return Standing(*self._ask("tidy" if tidy else "look"))

    def kinds(self) -> dict[str, int]:
        """Its open descriptors and its threads, by kind."""
        found: dict[str, int] = self._ask("kinds")
        return found

    def _ask(self, question: str) -> Any:
        with self._lock:
            self._questions.write(f"{question}\n")
            self._questions.flush()
            return json.loads(self._answers.readline())

    def end(self, seconds: float) -> tuple[int | None, float]:
        """Ask it to end; its exit code, None where it did not end within so many seconds, and how long it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code: int | None = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - began
        self.close()
        return code, took

    def close(self) -> None:
        """See it end, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reading.join()
        for line in (self._questions, self._answers, self._remarks):
            with contextlib.suppress(OSError):  # it is gone
                line.close()


if __name__ == "__main__":
    threading.Thread(target=_answer_questions, daemon=True).start()
    app(prog_name="assistantguard")
