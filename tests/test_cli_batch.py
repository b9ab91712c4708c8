from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from assistantguard.cli.app import app
from assistantguard.ledger import open_ledger
from assistantguard.sandbox import BatchProcessing, Sandbox
from tests.support.waiting import LONG, wait_until

JOBS: list[dict[str, Any]] = [
    {"id": "a", "input": "Hello"},
    {"id": "b", "input": [{"role": "user", "content": "And here"}], "max_output_tokens": 50},
    {
        "custom_id": "c",
        "method": "POST",
        "url": "/v1/responses",
        "body": {"model": "gpt-6-luna", "input": "raw"},
    },
]
SAID = ["You said: Hello", "You said: And here", "You said: raw"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, JOBS)), "utf-8")
    return path


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(batches=getattr(request, "param", None), window_seconds={"2h": 0}, model_in_thread=False) as sandbox:
        monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", str(sandbox.api_key))
        yield sandbox


def command(file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["batch", str(file), "--poll", "0.01", *options])


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("through", "saved"), [("batch", "0.5"), ("2h", "0.3")])
def test_results_are_written_in_order_with_what_they_cost_and_saved(
    file: Path, sandbox: Sandbox, tmp_path: Path, through: str, saved: str
) -> None:
    out = tmp_path / "out.jsonl"
    done = command(file, "--model", "gpt-6-luna", "--through", through, "--output", str(out))
    assert done.exit_code == 0
    written = rows(out.read_text("utf-8"))
    assert [(row["id"], row["status"], row["text"]) for row in written] == [
        (name, "completed", text) for name, text in zip("abc", SAID, strict=True)
    ]
    cost = sum((Decimal(row["cost"]) for row in written), Decimal(0))
    assert cost == sandbox.billing.cost
    lowered = cost / (1 - Decimal(saved)) - cost
    assert "3 completed; " in done.stderr
    assert f"cost ${cost:.6f}; at standard price it had been ${lowered:.6f} more" in done.stderr


def test_the_same_command_does_no_job_twice_and_says_the_same(file: Path, sandbox: Sandbox) -> None:
    first = command(file, "--model", "gpt-6-luna")
    second = command(file, "--model", "gpt-6-luna")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert rows(first.stdout) == rows(second.stdout)
    assert sandbox.billing.requests == 3
    assert file.with_name("jobs.jsonl.state").exists()


@pytest.mark.parametrize("sandbox", [BatchProcessing(failing=["job-2"])], indirect=True)
def test_some_failed_jobs_are_listed_and_the_exit_code_is_1(file: Path, sandbox: Sandbox) -> None:
    done = command(file, "--model", "gpt-6-luna")
    assert done.exit_code == 1
    assert [row["status"] for row in rows(done.stdout)] == ["completed", "failed", "completed"]
    assert "failed: b: " in done.stderr
    assert "1 may be done again: give --retry" in done.stderr
    assert sandbox.billing.requests == 2


def test_bad_lines_are_all_told_and_the_exit_code_is_2(file: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    with file.open("a", encoding="utf-8") as more:
        more.write('\n{oops\n{"id": "a", "input": "again"}\n')
    done = command(file, "--model", "gpt-6-luna")
    assert done.exit_code == 2
    assert "2 jobs are malformed, and nothing was sent" in done.stderr
    assert "line 4: '{oops' is no JSON" in done.stderr
    assert "line 5: the id 'a' is that of line 1 already" in done.stderr
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "line 1 of "),
        (["--model", "gpt-6-luna", "--through", "4h"], "through is '4h'"),
        (["--model", "gpt-6-luna", "--ledger", "sqlite:///x.db", "--state", "y"], "both --ledger and --state"),
        (["--model", "gpt-6-luna", "--state", "/nowhere/at/all"], "there is no folder"),
        (["--model", "gpt-6-luna", "--max-cost", "much"], "CostCap session"),
    ],
)
def test_options_that_cannot_work_are_refused(file: Path, sandbox: Sandbox, options: list[str], told: str) -> None:
    done = command(file, *options)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not sandbox.requests


def test_a_file_that_is_not_there_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    done = command(tmp_path / "none.jsonl", "--model", "gpt-6-luna")
    assert done.exit_code == 2
    assert "none.jsonl: No such file" in done.stderr


def test_a_missing_key_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = command(file, "--model", "gpt-6-luna")
    assert (done.exit_code, done.stderr.strip()) == (
        2,
        "assistantguard: there is no key: set OPENAI_API_KEY, or try it with --sandbox",
    )


def test_what_could_pass_the_sum_is_refused(file: Path, sandbox: Sandbox) -> None:
    done = command(file, "--model", "gpt-6-luna", "--max-cost", "0.000001")
    assert done.exit_code == 1
    assert {row["status"] for row in rows(done.stdout)} == {"refused"}
    assert not sandbox.billing.requests


@pytest.mark.parametrize("through", ["batch", "8h"])
def test_a_sandbox_needs_neither_key_nor_file_and_keeps_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    monkeypatch.setenv("ASSISTANTGUARD_LEDGER", "sqlite:////nowhere/at/all.db")
    done = command(file, "--model", "gpt-6-luna", "--through", through, "--sandbox")
    assert done.exit_code == 0
    assert [row["text"] for row in rows(done.stdout)] == SAID
    assert done.stderr.startswith("a sandbox answers: nothing is sent to OpenAI, nothing is billed")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("option", [["--retry"], ["--cancel"], ["--state", "x"], ["--ledger", "sqlite:///x.db"]])
def test_a_sandbox_knows_no_other_batch(file: Path, option: list[str]) -> None:
    done = command(file, "--model", "gpt-6-luna", "--sandbox", *option)
    assert done.exit_code == 2
    assert f"both --sandbox and {option[0]} are given" in done.stderr


@contextlib.contextmanager
def running(sandbox: Sandbox, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, from when the server has its batch."""
    line = [sys.executable, "-m", "assistantguard.cli", "batch", *arguments, "--poll", "0.05"]
    with (
        sandbox.client() as client,
        subprocess.Popen(line, env=dict(os.environ), stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            wait_until(lambda: len(client.batches.list().data) == 1)
            yield process
        finally:
            process.kill()
            process.wait(LONG)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("sandbox", [BatchProcessing(seconds=90)], indirect=True)
def test_ctrl_c_leaves_the_batch_running_and_says_how_to_go_on(file: Path, sandbox: Sandbox) -> None:
    arguments = [str(file), "--model", "gpt-6-luna"]
    with running(sandbox, *arguments) as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert told.splitlines()[-1] == (
        f"assistantguard: interrupted: what was sent goes on at the server, and {file}.state knows it; the same command"
        " takes it up, with --cancel it ends it"
    )
    sandbox.advance(100)
    done = command(file, *arguments[1:])
    assert [row["text"] for row in rows(done.stdout)] == SAID
    assert sandbox.billing.requests == 3


@pytest.mark.parametrize("sandbox", [BatchProcessing(seconds=90)], indirect=True)
@pytest.mark.parametrize("books", ["state", "ledger"])
def test_a_batch_whose_process_was_killed_is_taken_up_by_the_same_command(
    file: Path, sandbox: Sandbox, tmp_path: Path, books: str
) -> None:
    kept = tmp_path / "kept"
    options = ["--state", str(kept)] if books == "state" else ["--ledger", f"sqlite:///{kept}"]
    with running(sandbox, str(file), "--model", "gpt-6-luna", *options):
        pass
    sandbox.advance(100)
    done = command(file, "--model", "gpt-6-luna", *options)
    assert [row["text"] for row in rows(done.stdout)] == SAID
    with sandbox.client() as client:
        assert len(client.batches.list().data) == 1
    assert sandbox.billing.requests == 3
    ledger = open_ledger(f"sqlite:///{kept}")
    assert not ledger.open_holds()
    assert len(ledger.entries()) == 3
    ledger.database.close()
