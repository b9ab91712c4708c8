from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistantguard import Assistant, AssistantGuard
from assistantguard.sandbox import Fault, Sandbox
from tests.support.books import Books
from tests.support.clock import Clock

DAY = 86_400.0
WHY = "Ada, the terms of use say so"


@pytest.fixture
def sandbox(books: Books, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in which Ann had a thread, 31 days ago."""
    with (
        Sandbox() as sandbox,
        sandbox.client() as client,
        AssistantGuard(client, Assistant(model="gpt-6-luna"), ledger=books.url, sinks=[]) as bot,
    ):
        bot.thread(user="ann", topic="billing").chat("Hello")
        clock.advance(31 * DAY)
        monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", sandbox.api_key)
        yield sandbox


def test_a_sweep_says_what_it_would_do_and_apply_does_it(books: Books, sandbox: Sandbox) -> None:
    looked = books.run("sweep")
    assert looked.exit_code == 0
    assert "What there is to do; --apply does it" in looked.stdout
    assert books.json("sweep", "--json")["parts"]["archive"]["found"] == 1
    done = books.run("sweep", "--apply")
    assert "What was done" in done.stdout
    assert books.json("sweep", "--json")["parts"]["archive"]["found"] == 0


def test_archived_threads_go_after_a_year_with_consent(books: Books, sandbox: Sandbox, clock: Clock) -> None:
    books.run("sweep", "--apply")
    clock.advance(366 * DAY)
    done = books.run("sweep", "--apply")
    assert "1: no consent to deletion" in done.stdout
    assert "--consent-to-deletion" in done.stderr
    assert "archived long ago: thread_" in done.stderr
    looked = books.json("sweep", "--consent-to-deletion", WHY, "--json")
    assert (looked["consent"]["words"], looked["consent"]["delete_after"]) == (WHY, 365 * DAY)
    assert (looked["parts"]["delete"]["found"], looked["parts"]["delete"]["done"]) == (1, 0)
    parts = books.json("sweep", "--apply", "--json")["parts"]
    assert (parts["delete"]["done"], parts["conversations"]["done"]) == (1, 1)
    assert sandbox.conversations == []


def test_a_consent_can_be_withdrawn(books: Books) -> None:
    assert WHY in books.run("sweep", "--consent-to-deletion", WHY).stderr
    assert books.json("sweep", "--withdraw-consent", "--json")["consent"] is None
    assert "there was no consent to withdraw" in books.run("sweep", "--withdraw-consent").stderr


def test_without_a_key_or_with_no_key_the_server_is_left_alone(books: Books, sandbox: Sandbox) -> None:
    books.threads.generation_begun("nobody's", "conv_lost", 1.0)
    before = len(sandbox.requests)
    done = books.run("sweep", "--apply", "--no-key")
    assert "1: no key" in done.stdout
    assert "set OPENAI_API_KEY" in done.stderr
    assert len(sandbox.requests) == before


def test_what_the_server_refuses_is_told_with_exit_code_one(books: Books, sandbox: Sandbox) -> None:
    books.threads.generation_begun("nobody's", "conv_lost", 1.0)
    sandbox.inject(Fault.server_error(500, should_retry=False, rate=1.0, endpoint="DELETE /conversations/{id}"))
    done = books.run("sweep", "--apply")
    assert done.exit_code == 1
    assert "1: the server did not let it happen" in done.stdout


def test_each_change_is_an_event_that_the_report_command_reads(books: Books, sandbox: Sandbox, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    books.run("sweep", "--apply", "--events", str(events))
    assert [json.loads(line)["event"] for line in events.read_text().splitlines()] == ["thread.archived"]
    from typer.testing import CliRunner

    from assistantguard.cli.app import app

    report = json.loads(CliRunner().invoke(app, ["report", str(events), "--json"]).stdout)
    assert (report["sweeps"], report["unknown_events"]) == ({"thread.archived": 1}, {})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--archive-after", "0"], "--archive-after is 0, it must be a number of days above 0, at most 36,500"),
        (["--delete-after", "-1"], "--delete-after is -1"),
        (["--keep-runs", "nan"], "--keep-runs is nan, it must be a number of days"),
        (["--archive-after", "1e12"], "--archive-after is 1e+12"),
        (["--consent-to-deletion", " "], "say in 1 to 1,000 characters who consents to the deletion, and why"),
        (["--consent-to-deletion", "\x1b[31mred"], "the consent has control characters"),
        (["--consent-to-deletion", "x", "--withdraw-consent"], "both --consent-to-deletion and --withdraw-consent"),
        (["--events", "/nowhere/events.jsonl", "--apply"], "the events file '/nowhere/events.jsonl' cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(books: Books, arguments: list[str], told: str) -> None:
    assert told in books.refused("sweep", *arguments)
