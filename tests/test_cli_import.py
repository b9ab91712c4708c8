from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assistantguard.cli.app import app
from assistantguard.storage import open_database
from assistantguard.storage.sql_documents import SqlDocuments
from tests.dropin.exports import assistant, listed, message, thread


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'guard.db'}"


def file(folder: Path, name: str, *values: Any) -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(value) for value in values), encoding="utf-8")
    return path


def test_an_export_is_imported_and_counted(tmp_path: Path, url: str) -> None:
    files = [
        file(tmp_path, "assistants.json", listed(assistant())),
        file(tmp_path, "threads.jsonl", thread(), thread("thread_2")),
        file(tmp_path, "messages.json", [message("b", 2), message("a", 1)]),
    ]
    done = run(*files, "--ledger", url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "assistants: 1 created, 0 there already; threads: 2 created, 0 there already;"
        " messages: 2 created, 0 there already; skipped: 0\n"
    )
    again = run(*files, "--ledger", url)
    assert again.exit_code == 0
    assert "assistants: 0 created, 1 there already; threads: 0 created, 2 there already" in again.stdout
    database = open_database(url)
    kept = SqlDocuments(database).page("message", "thread_old", limit=10, descending=False).documents
    database.close()
    assert [document.id for document in kept] == ["msg_a", "msg_b"]


def test_the_ledger_may_be_named_by_the_environment(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSISTANTGUARD_LEDGER", url)
    assert run(file(tmp_path, "a.json", assistant())).exit_code == 0
    assert (tmp_path / "guard.db").exists()


def test_what_is_bad_is_named_with_file_and_line_and_the_exit_code_is_one(tmp_path: Path, url: str) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text(
        "\n".join(
            [json.dumps(thread()), "{broken", json.dumps(message("a", 1, role="system")), json.dumps(assistant())]
        )
    )
    done = run(path, "--ledger", url)
    assert done.exit_code == 1
    told = done.stderr.replace("\n", " ")
    assert f"skipped {path}:2: this is no JSON" in told
    assert f"skipped {path}:3: thread.message 'msg_a': " in told
    assert "assistants: 1 created" in done.stdout
    assert "skipped: 2" in done.stdout


def test_as_json_it_is_one_document(tmp_path: Path, url: str) -> None:
    path = file(tmp_path, "all.jsonl", assistant(), message("a", 1, text="word " * 120_000), {"object": "moon"})
    done = run(path, "--ledger", url, "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["assistants"] == {"created": 1, "there_already": 0}
    assert document["messages"] == {"created": 1, "there_already": 0}
    assert document["bad"][0]["line"] == 3
    assert document["threads_without_object"] == ["thread_old"]
    assert [each["id"] for each in document["long_threads"]] == ["thread_old"]
    assert "thread thread_old holds about 120" in done.stderr
    assert "came without theirs: 1" in done.stderr


def test_memory_is_no_place_to_import_to(tmp_path: Path) -> None:
    done = run(file(tmp_path, "a.json", assistant()))
    assert done.exit_code == 2
    assert "give --ledger URL, or set ASSISTANTGUARD_LEDGER" in done.stderr.replace("\n", " ")
    done = run(file(tmp_path, "a.json", assistant()), "--ledger", "sqlite:///:memory:")
    assert done.exit_code == 2
    assert "names no file" in done.stderr.replace("\n", " ")


def test_files_that_hold_nothing_or_cannot_be_read_are_told(tmp_path: Path, url: str) -> None:
    empty = file(tmp_path, "empty.json")
    assert "no object in" in run(empty, "--ledger", url).stderr
    absent = run(tmp_path / "absent.json", "--ledger", url)
    assert absent.exit_code == 2
    assert "cannot read" in absent.stderr
    binary = tmp_path / "binary.json"
    binary.write_bytes(json.dumps(assistant()).encode() + b"\n{}\n\xff\xfe")
    done = run(binary, "--ledger", url)
    assert done.exit_code == 1
    assert f"{binary}:3: this is no UTF-8 text" in done.stderr.replace("\n", " ")
    assert "assistants: 1 created" in done.stdout


def test_control_characters_of_an_export_do_not_reach_the_terminal(tmp_path: Path, url: str) -> None:
    done = run(file(tmp_path, "a.json", {"object": "\x1b[31mred", "id": "\x1b[0m"}), "--ledger", url)
    assert done.exit_code == 1
    assert "\x1b" not in done.stderr + done.stdout
