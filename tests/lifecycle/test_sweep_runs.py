from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from assistantguard.ledger import SqlLedger
from assistantguard.sandbox import Fault
from tests.lifecycle.office import Office

WORKER = """
import sys
from openai import OpenAI
from assistantguard import Assistant, AssistantGuard
client = OpenAI(base_url=sys.argv[2], api_key=sys.argv[3])
bot = AssistantGuard(client, Assistant(model="gpt-6-luna"), [], ledger=sys.argv[1], sinks=[])
bot.thread(user="u-1", topic="a").chat("Hello")
"""


def kill_in_mid_run(office: Office) -> None:
    """A process that is killed while the model works."""
    office.sandbox.inject(Fault.stuck(at=1))
    arguments = [office.url, office.sandbox.base_url, office.sandbox.api_key]
    with subprocess.Popen([sys.executable, "-c", WORKER, *arguments]) as process:
        give_up = time.monotonic() + 60
        while not any(request.path.endswith("/responses") for request in office.sandbox.requests):
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_run_that_a_killed_process_left_is_settled(office: Office) -> None:
    kill_in_mid_run(office)
    office.clock.advance(60)
    (thread,) = office.threads()
    assert office.sweep(apply=False).runs.ids == (thread.id,)
    left = office.sweep(key=False)
    assert (left.runs.done, left.runs.left) == (0, {"no key": 1})
    report = office.sweep()
    assert (report.runs.found, report.runs.done) == (1, 1)
    ledger = SqlLedger(office.database)
    assert ledger.open_holds() == ()
    (entry,) = ledger.entries()
    assert (entry.user, entry.usage.estimated_tokens > 0) == ("u-1", True)
    assert "run.settled" in office.told()
    assert office.sweep().runs.found == 0
    office.chat("u-1", "a")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_thread_with_an_unfinished_run_is_neither_archived_nor_deleted_without_a_key(office: Office) -> None:
    kill_in_mid_run(office)
    office.later(31)
    report = office.sweep(key=False)
    assert (report.archive.done, report.archive.left) == (0, {"a run is unfinished": 1})
    assert report.holds.done == 1
    assert office.sweep().archive.done == 1
