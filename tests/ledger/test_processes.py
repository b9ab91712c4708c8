"""Several processes on one ledger: nothing is overspent, nothing ends twice, and who is killed takes nothing along."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistantguard.ledger import SqlLedger, open_ledger
from tests.ledger.books import claim, entry, tokens
from tests.ledger.worker import HOT

ROOT = Path(__file__).parents[2]


class Worker:
    """A process of `tests.ledger.worker`."""

    def __init__(self, url: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.worker", url, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.words: list[list[str]] = []

    def read_until(self, word: str) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.words.append(line.split())
            if self.words[-1][:1] == [word]:
                return
        raise AssertionError(f"it ended before it said {word}: {self.errors()}")

    def said(self, word: str) -> list[list[str]]:
        return [words[1:] for words in self.words if words[:1] == [word]]

    def finish(self) -> None:
        """Wait until it has ended by itself."""
        self._read_rest()
        assert self._process.returncode == 0, self.errors()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._read_rest()

    def errors(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read_rest(self) -> None:
        assert self._process.stdout is not None
        self.words += [line.split() for line in self._process.stdout if line.endswith("\n")]
        self._process.wait()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        worker.close()


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    ledger = open_ledger(database_url)
    yield ledger
    ledger.database.close()


def check_sums(ledger: SqlLedger) -> None:
    """Balances, holds and rows tell the same."""
    held = sum(int(hold.claims[0].amount) for hold in ledger.open_holds())
    spent = sum(row.usage.total_tokens for row in ledger.entries())
    assert tokens(ledger, HOT) == (spent, held)
    by_user = [tokens(ledger, f"user:{number}") for number in range(4)]
    assert (sum(one for one, _ in by_user), sum(one for _, one in by_user)) == (spent, held)


def test_processes_and_threads_never_overspend_a_hot_account_by_one_token(
    ledger: SqlLedger, database_url: str, workers: list[Worker], tmp_path: Path
) -> None:
    limit, start = 1_000, tmp_path / "start"
    workers += [Worker(database_url, "spend", name, 3, 40, limit, start) for name in range(3)]
    for worker in workers:
        worker.read_until("begun")
    start.touch()
    for worker in workers:
        worker.finish()
    seen = [int(word) for worker in workers for (word,) in worker.said("held")]
    refused = [(int(spent), int(held)) for worker in workers for spent, held in worker.said("refused")]
    committed = [(hold, int(used)) for worker in workers for hold, used in worker.said("committed")]
    assert max(seen) <= limit
    assert refused
    assert all(limit - 10 < spent + held <= limit for spent, held in refused)
    assert tokens(ledger, HOT) == (sum(used for _, used in committed), 0)
    assert len(ledger.entries()) == len(committed)
    check_sums(ledger)


def test_a_hold_expires_once_whoever_comes_first(
    ledger: SqlLedger, database_url: str, workers: list[Worker], tmp_path: Path
) -> None:
    for number in range(250):
        ledger.reserve(f"h{number}", [claim(10, HOT), claim(10, f"user:{number % 4}")], 5.0)
    start = tmp_path / "start"
    workers += [Worker(database_url, "expire", 6.0, start) for _ in range(3)]
    for worker in workers:
        worker.read_until("begun")
    start.touch()
    for worker in workers:
        worker.finish()
    ended = [hold for worker in workers for hold in worker.words[1]]
    ended += [hold.id for hold in ledger.expire(6.0)]  # what the others had locked when they ended
    assert sorted(ended) == sorted(f"h{number}" for number in range(250))
    assert tokens(ledger, HOT) == (2_500, 0)
    assert not ledger.open_holds()


def test_only_one_process_is_the_first(database_url: str, workers: list[Worker], tmp_path: Path) -> None:
    start = tmp_path / "start"
    workers += [Worker(database_url, "notice", 60, start) for _ in range(3)]
    for worker in workers:
        worker.read_until("begun")
    start.touch()
    for worker in workers:
        worker.finish()
    assert sorted(int(number) for worker in workers for number in worker.words[1]) == list(range(60))


def test_who_is_killed_in_the_midst_of_a_transaction_leaves_nothing_behind(
    ledger: SqlLedger, database_url: str, workers: list[Worker]
) -> None:
    ledger.reserve("first", [claim(10, HOT, limit=30)], 1e9)
    workers.append(Worker(database_url, "hang"))
    workers[0].read_until("ready")
    assert tokens(ledger, HOT) == (0, 10)
    workers[0].kill()
    ledger.reserve("second", [claim(20, HOT, limit=30)], 1e9)
    ledger.commit("first", entry(7))
    assert tokens(ledger, HOT) == (7, 20)
    assert [hold.id for hold in ledger.open_holds()] == ["second"]


def test_processes_that_are_killed_at_any_instant_lose_nothing_that_was_committed(
    ledger: SqlLedger, database_url: str, workers: list[Worker]
) -> None:
    dice = random.Random(4)
    workers += [Worker(database_url, "spend", name, 2, 10**6, 10**9) for name in range(3)]
    for worker in workers:
        worker.read_until("committed")
    for worker in workers:
        time.sleep(dice.uniform(0.01, 0.1))
        worker.kill()
    committed = {hold: int(used) for worker in workers for hold, used in worker.said("committed")}
    # Of each thread the last one may have been written although it could not be told.
    assert len(committed) <= len(ledger.entries()) <= len(committed) + 6
    assert sum(committed.values()) <= tokens(ledger, HOT)[0]
    assert len(ledger.open_holds()) <= 6
    check_sums(ledger)
    spent, held = tokens(ledger, HOT)
    ledger.expire(2e9)
    assert tokens(ledger, HOT) == (spent + held, 0)
    assert not ledger.open_holds()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_uses_connections_of_its_own(database_url: str) -> None:
    script = """
import os, sys
from assistantguard.ledger import open_ledger
from tests.ledger.books import claim, entry, tokens
ledger = open_ledger(sys.argv[1])
ledger.reserve("before", [claim(10)], 1e9)
with ledger.database.transaction():
    ledger.reserve("parent", [claim(10)], 1e9)
    child = os.fork()
    if child == 0:
        assert tokens(ledger) == (0, 10), "it sees what its parent has not committed"
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if child == 0:
    ledger.commit("before", entry(7))
    ledger.reserve("child", [claim(5)], 1e9)
    ledger.database.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert tokens(ledger) == (7, 15)
ledger.release("parent")
ledger.release("child")
assert tokens(ledger) == (7, 0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, database_url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_is_forked_within_a_transaction_does_not_end_it(database_url: str) -> None:
    script = """
import os, sys
from assistantguard.ledger import open_ledger
from tests.ledger.books import claim, tokens
ledger = open_ledger(sys.argv[1])
with ledger.database.transaction():
    ledger.reserve("parent", [claim(10)], 1e9)
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        ledger.reserve("again", [claim(10)], 1e9)
assert tokens(ledger) == ((0, 20) if child else (0, 0)), tokens(ledger)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, database_url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
