from __future__ import annotations

from collections.abc import Iterator

import pytest

from assistantguard import Assistant, AssistantGuard
from assistantguard.sandbox import Sandbox
from tests.support.books import Books


@pytest.fixture
def sandbox(books: Books, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in which Ann has had two threads."""
    with (
        Sandbox() as sandbox,
        sandbox.client() as client,
        AssistantGuard(client, Assistant(model="gpt-6-luna"), ledger=books.url, sinks=[]) as bot,
    ):
        for topic in ("Billing", "orders"):
            bot.thread(user="ann", topic=topic, tags=["vip"], tenant="acme").chat("A secret question")
        monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
        yield sandbox


def listed(books: Books, *options: str) -> list[str]:
    return sorted(row["id"] for row in books.json("threads", *options, "--format", "json")["threads"])


def test_threads_are_listed_and_searched(books: Books) -> None:
    books.thread("t-1", "ann", "Billing 100%", "VIP")
    books.thread("t-2", "ann", "orders")
    books.thread("t-3", "bob", "orders")
    books.thread("t-4")
    books.threads.archive("t-2", "ann", 1_795_000_000.0)
    assert listed(books) == ["t-1", "t-3", "t-4"]
    assert listed(books, "--all") == ["t-1", "t-2", "t-3", "t-4"]
    assert listed(books, "--archived") == ["t-2"]
    assert listed(books, "--user", "ann") == ["t-1"]
    assert listed(books, "--search", "billing 100%") == ["t-1"]
    assert listed(books, "--search", "%") == ["t-1"]
    assert listed(books, "--tag", "vip") == ["t-1"]
    done = books.run("threads", "--limit", "1")
    assert "and more: raise --limit 1" in done.stderr
    assert books.json("threads", "--limit", "1", "--format", "json")["more"]


def test_a_thread_is_shown_with_its_runs_and_not_what_was_said(books: Books, sandbox: Sandbox) -> None:
    found = books.json("threads", "show", "--user", "ann", "Billing", "--format", "json")
    thread, (run,) = found["thread"], found["runs"]
    assert (thread["user"], thread["name"], thread["tenant"], thread["turns"]) == ("ann", "Billing", "acme", 1)
    assert thread["conversations"] == sandbox.conversations[:1]
    assert (run["status"], run["tokens"]) == ("completed", thread["tokens"])
    assert books.json("threads", "show", "--user", "ann", thread["id"], "--format", "json") == found
    table = books.run("threads", "show", "--user", "ann", "Billing").stdout
    assert thread["id"] in table
    assert run["run"] in table
    assert "secret" not in table


def test_threads_are_archived_restored_and_renamed(books: Books) -> None:
    books.thread("t-1", "ann", "billing")
    assert books.run("threads", "archive", "--user", "ann", "billing").exit_code == 0
    assert listed(books, "--archived") == ["t-1"]
    assert books.run("threads", "restore", "--user", "ann", "t-1").exit_code == 0
    assert listed(books) == ["t-1"]
    done = books.run("threads", "rename", "--user", "ann", "billing", "bills")
    assert "renamed the thread 'bills' (t-1)" in done.stderr
    assert books.json("threads", "--format", "json")["threads"][0]["name"] == "bills"


def test_a_thread_is_deleted_with_its_conversation_where_there_is_a_key(
    books: Books, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", sandbox.api_key)
    done = books.run("threads", "delete", "--user", "ann", "Billing", "--yes")
    assert done.exit_code == 0
    assert "conversations deleted at the server: 1" in done.stderr
    assert len(sandbox.conversations) == 1
    assert [row["name"] for row in books.json("threads", "--format", "json")["threads"]] == ["orders"]
    assert books.json("usage", "--user", "ann", "--format", "json")["total"]["requests"] == 2


def test_without_a_key_the_conversation_is_left_for_a_sweep(books: Books, sandbox: Sandbox) -> None:
    done = books.run("threads", "delete", "--user", "ann", "Billing", "--yes")
    assert "left for a sweep with a key: 1" in done.stderr
    assert len(sandbox.conversations) == 2
    assert len(books.threads.unused_generations(4e9)) == 1


def test_a_deletion_must_be_meant(books: Books) -> None:
    books.thread("t-1", "ann", "billing")
    assert "say so with --yes" in books.refused("threads", "delete", "--user", "ann", "t-1")
    assert listed(books) == ["t-1"]


def test_a_thread_that_somebody_drives_is_not_deleted(books: Books) -> None:
    books.thread("t-1", "ann", "billing")
    books.threads.open("t-1", "worker 7", 600.0, 4e9, user="ann")
    done = books.run("threads", "delete", "--user", "ann", "t-1", "--yes")
    assert done.exit_code == 1
    assert "is in use by worker 7" in done.stderr
    assert listed(books) == ["t-1"]


@pytest.mark.parametrize("command", [["show"], ["archive"], ["restore"], ["delete", "--yes"]])
def test_another_users_thread_is_not_found_by_id_or_by_name(books: Books, command: list[str]) -> None:
    books.thread("t-1", "ann", "billing")
    books.thread("t-2", "bob", "orders")
    for word in ("t-1", "billing"):
        told = books.refused("threads", *command, "--user", "bob", word)
        assert f"there is no thread {word!r} of the user 'bob'" in told
        assert "that has no user" in books.refused("threads", *command, word)
    assert listed(books) == ["t-1", "t-2"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--user", "nobody"], "the user 'nobody' has no threads"),
        (["show", "--user", "nobody", "x"], "the user 'nobody' has no threads"),
        (["rename", "--user", "ann", "t-1", "orders"], "has another thread named 'orders'"),
        (["rename", "--user", "ann", "t-1", "two\nlines"], "has the control character U+000A"),
        (["rename", "--user", "ann", "t-1", " "], "says nothing"),
        (["--all", "--archived"], "both --archived and --all are given"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(books: Books, arguments: list[str], told: str) -> None:
    books.thread("t-1", "ann", "billing")
    books.thread("t-2", "ann", "orders")
    assert told in books.refused("threads", *arguments)


def test_control_characters_in_names_never_reach_the_terminal(books: Books) -> None:
    red = "\x1b[31mred\u202e\x9b"
    books.thread(red, red, red, red)
    for arguments in ([], ["show", "--user", red, red]):
        for form in ("table", "json", "csv"):
            done = books.run("threads", *arguments, "--format", form)
            assert done.exit_code == 0, done.output
            assert not {"\x1b", "\u202e", "\x9b"} & set(done.output)
    done = books.run("threads", "archive", "--user", red, red)
    assert not {"\x1b", "\u202e", "\x9b"} & set(done.output)
