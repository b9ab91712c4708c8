from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assistantguard import Assistant, AssistantGuard, Budget, ThreadRotation
from assistantguard.cli.app import app
from assistantguard.sandbox import Sandbox
from tests.advice.histories import Log
from tests.replay.chats import order_file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["advise", *map(str, arguments)])


@pytest.fixture
def events(tmp_path: Path) -> Path:
    log = Log(model="gpt-4o")
    for _ in range(40):
        log.turn(200, 300)
    return log.write(tmp_path / "events.jsonl")


def test_events_are_advised_on(events: Path) -> None:
    shown, told = run(events), run(events, "--json")

    document = json.loads(told.stdout)
    assert (shown.exit_code, told.exit_code) == (0, 0)
    assert "ThreadRotation(" in shown.stdout
    assert "40 model calls, 40 turns, 1 threads" in shown.stdout
    assert document["source"] == "events"
    assert "rotation" in {each["kind"] for each in document["suggestions"]}


def test_recorded_conversations_are_advised_on(tmp_path: Path) -> None:
    done = run(order_file(tmp_path, 8), "--chain", 8, "--model", "gpt-4o", "--json")

    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (document["source"], document["threads"], document["turns"]) == ("recordings", 1, 24)
    assert "rotation" in {each["kind"] for each in document["suggestions"]}


def test_the_books_of_a_database_are_advised_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'guard.db'}"
    with (
        Sandbox(lambda _request: "A long answer about kettles and grinders. " * 60) as sandbox,
        AssistantGuard(
            sandbox.client(),
            Assistant("gpt-4o", "You help. " * 40),
            [ThreadRotation(1_000), Budget("user", per=None, tokens=2_000_000)],
            ledger=url,
            sinks=[],
        ) as bot,
    ):
        thread = bot.thread(user="anna")
        for _ in range(12):
            thread.chat("Tell me about kettles and grinders.")
        bot.set_budget("anna", tokens=40_000)
        billed = sandbox.billing.cost

    done = run("--database", url, "--json")

    document = json.loads(done.stdout)
    by_kind = {each["kind"]: each for each in document["suggestions"]}
    assert done.exit_code == 0
    assert billed is not None
    assert document["cost"] == f"{billed:.6f}"
    assert document["error"] < 0.02
    assert {"rotation", "limits"} <= set(by_kind)
    assert by_kind["limits"]["setting"].startswith("bot.set_budget('anna', tokens=40_000")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{events}", "--database", "sqlite:///x.db"], 2, "both files and --database are given"),
        (["{events}", "{conversations}"], 2, "give one kind at a time"),
        (["{empty}"], 1, "nothing to read in"),
        (["{events}", "--cheaper", "nobody-knows-it"], 2, "no known price"),
        (["{events}.gone"], 2, "cannot read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(
    tmp_path: Path, events: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    names = {"events": events, "conversations": order_file(tmp_path, 1), "empty": tmp_path / "empty.jsonl"}

    done = run(*(each.format(**names) for each in arguments))

    assert done.exit_code == code
    assert message in done.stderr.replace("\n", " ")
