from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from assistantguard.cli.app import app
from tests.replay.chats import order_chat, order_file, write_lines

RECORDED = Path(__file__).parent.parent.parent / "shared" / "conversations"
PROGRAM = (sys.executable, "-W", "error", "-m", "assistantguard.cli")
PROMISED = {
    "name",
    "model_calls",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost",
    "saving",
    "largest_context",
    "argument_recall",
}

runner = CliRunner()


def run(*arguments: str | Path, **options: Any) -> Any:
    return runner.invoke(app, [str(argument) for argument in arguments], **options)


def program(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False, **options
    )


def events_file(folder: Path, *more: str) -> Path:
    call = {
        "event": "request.settled",
        "time": 1.0,
        "thread_id": "t1",
        "model": "gpt-6-luna",
        "input_tokens": 1000,
        "cached_tokens": 500,
        "output_tokens": 10,
        "cost": "0.25",
    }
    settled = {**call, "event": "run.settled", "run_id": "run_1", "status": "completed", "steps": 3, "seconds": 1.5}
    file = folder / "events.jsonl"
    file.write_text("\n".join([json.dumps(call), *more, json.dumps(settled)]) + "\n", encoding="utf-8")
    return file


def test_the_version_is_printed() -> None:
    done = run("--version")

    assert done.exit_code == 0
    assert done.stdout.startswith("assistantguard ")


def test_a_report_shows_cost_and_the_suggested_ceiling(tmp_path: Path) -> None:
    done = run("report", events_file(tmp_path))

    assert done.exit_code == 0
    assert "$0.25" in done.stdout
    assert "ToolStepCeiling(5)" in done.stdout


def test_a_report_as_json_is_one_document_and_bad_lines_go_to_standard_error(tmp_path: Path) -> None:
    file = events_file(tmp_path, "{broken", '{"event": "moon.phase"}')
    done = run("report", "--json", file)

    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert document["total"]["cost"] == "0.25"
    assert document["bad_lines"]["count"] == 1
    assert document["unknown_events"] == {"moon.phase": 1}
    assert f"{file}:2:" in done.stderr.replace("\n", "")


def test_a_report_adds_up_several_files_and_standard_input(tmp_path: Path) -> None:
    file = events_file(tmp_path)
    done = run("report", "--json", file, "-", input=file.read_text())

    assert json.loads(done.stdout)["events"] == 4


def test_a_report_of_nothing_fails_and_says_what_to_give(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    done = run("report", empty)

    assert done.exit_code == 1
    assert "no event in" in done.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = program("report", tmp_path / "absent.jsonl")

    assert done.returncode == 2
    assert re.search(r"cannot read .*absent\.jsonl: No such file", done.stderr)
    assert "Traceback" not in done.stderr


def test_report_runs_as_a_program(tmp_path: Path) -> None:
    done = program("report", events_file(tmp_path))

    assert done.returncode == 0
    assert re.fullmatch(r"2 events in [\d.]+ s, with at most \d+ MB of memory\s+", done.stderr)
    assert "What happened" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="closes a POSIX pipe")
def test_a_reader_that_goes_away_ends_the_program_quietly(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "report", str(events_file(tmp_path))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()

    assert process.returncode == 1
    assert complaint == ""


@pytest.mark.parametrize(("package", "extra"), [("typer", "cli"), ("rich", "cli"), ("uvicorn", "sandbox")])
def test_a_missing_extra_is_one_line_with_the_pip_command(tmp_path: Path, package: str, extra: str) -> None:
    blocked = (
        "import sys; sys.modules[sys.argv[1]] = None; del sys.argv[1]; from assistantguard.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked, package, "replay", "--jobs", "1", str(order_file(tmp_path, 1))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert f"pip install 'assistantguard[{extra}]'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_replay_prints_every_row_side_by_side(tmp_path: Path) -> None:
    done = run("replay", "--chain", "4", "--jobs", "1", "--max-turns", "3", order_file(tmp_path))

    assert done.exit_code == 0
    for name in ("none", "sketch-30", "sketch-8", "default", "custom"):
        assert name in done.stdout
    assert "conversations: 4, threads: 1, turns: 12" in done.stderr


def test_replay_as_json_is_one_document_with_the_promised_fields(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text(json.dumps(order_chat(1)) + "\n{broken\n" + json.dumps(order_chat(2)) + "\n", encoding="utf-8")
    done = run("replay", "--json", "--chain", "2", "--jobs", "1", "--row", "default", file)

    rows = json.loads(done.stdout)["rows"]
    assert done.exit_code == 0
    assert [row["name"] for row in rows] == ["none", "default"]
    assert all(set(row) >= PROMISED for row in rows)
    assert rows[0]["saving"] == 0
    assert rows[0]["argument_recall"] == 1.0
    assert f"{file}:2:" in done.stderr.replace("\n", "")


def test_replay_runs_as_a_program_in_several_processes(tmp_path: Path) -> None:
    done = program("replay", "--json", "--chain", "2", "--jobs", "2", "--row", "sketch-8", order_file(tmp_path, 2))

    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["rows"]] == ["none", "sketch-8"]
    assert "Traceback" not in done.stderr


def test_replay_takes_the_tool_schemas_that_requests_carried(tmp_path: Path) -> None:
    file = order_file(tmp_path, 1)
    schemas = [
        {
            "type": "function",
            "function": {"name": name, "description": "x " * 200, "parameters": {"type": "object"}},
        }
        for name in ("find_order", "track", "send_bill")
    ]
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(schemas))

    def tokens(*options: str | Path) -> int:
        done = run("replay", "--json", "--jobs", "1", "--row", "default", *options, file)
        return int(json.loads(done.stdout)["rows"][0]["input_tokens"])

    assert tokens("--tools", tools) > tokens() + 6 * 500


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--chain", "0"], 2, "it is 0, it must be at least 1"),
        (["--row", "cheapest"], 2, "there is no row 'cheapest': the rows are none, sketch-30"),
        (["--model", "in-house"], 2, "no known price"),
        (["--max-turns", "-1"], 2, "it is -1, it must be at least 1"),
        (["--tools", "{file}"], 2, "is no JSON"),
    ],
)
def test_a_bad_option_is_named_with_its_limit(tmp_path: Path, options: list[str], code: int, says: str) -> None:
    file = order_file(tmp_path, 2)
    done = run("replay", file, *(option.format(file=file) for option in options), env={"COLUMNS": "200"})

    assert done.exit_code == code
    assert says in done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"name": "f"}', "holds no list"),
        ('[{"type": "web_search"}]', "tool 1 is no function schema"),
        ("[7]", "tool 1 is no function schema"),
    ],
)
def test_a_bad_tools_file_is_refused_with_the_mend(tmp_path: Path, content: str, says: str) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(content)
    done = run("replay", "--tools", tools, order_file(tmp_path, 1))

    assert done.exit_code == 2
    assert says in done.stderr


def test_replay_of_a_file_without_conversations_fails_and_says_so(tmp_path: Path) -> None:
    done = run("replay", write_lines(tmp_path / "odd.jsonl", {"event": "x"}))

    assert done.exit_code == 1
    assert "no conversation to play" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupted_replay_ends_without_a_trace(tmp_path: Path) -> None:
    file = order_file(tmp_path, 400)
    with subprocess.Popen(
        [*PROGRAM, "replay", "--jobs", "2", "--chain", "400", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("conversations: 400")
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)
        told, complaint = process.communicate(timeout=100)

    assert process.returncode == 130
    assert told == ""
    assert "Traceback" not in complaint


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_sandbox_serves_until_it_is_interrupted() -> None:
    with subprocess.Popen(
        [*PROGRAM, "sandbox", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/v1", process.stderr.readline())
        assert found is not None
        answer = httpx.post(
            f"{found[0]}/responses",
            json={"model": "gpt-6-luna", "input": "Hello"},
            headers={"Authorization": "Bearer sk-any"},
            trust_env=False,
        )
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)

    assert answer.json()["status"] == "completed"
    assert process.returncode == 0
    assert "Traceback" not in complaint


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--background", "maybe"], "background='maybe' is not one of supported, refused, foreground"),
        (["--on-disconnect", "weep"], "on_disconnect='weep' is not one of stop, complete"),
        (["--keep-responses", "0"], "it is 0, it must be at least 1"),
    ],
)
def test_a_sandbox_that_cannot_be_is_refused(option: list[str], told: str) -> None:
    done = run("sandbox", "--port", "0", *option)

    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_sandbox_takes_its_options() -> None:
    options = ["--background", "refused", "--keep-responses", "1", "--log-requests", "5", "--keep-calls", "1"]
    with subprocess.Popen([*PROGRAM, "sandbox", "--port", "0", *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/v1", process.stderr.readline())
        assert found is not None
        with httpx.Client(base_url=found[0], headers={"Authorization": "Bearer sk-any"}, trust_env=False) as client:
            question = {"model": "gpt-6-luna", "input": "Hello"}
            refused = client.post("/responses", json={**question, "background": True})
            first, _ = (client.post("/responses", json=question).json() for _ in range(2))
            gone = client.get(f"/responses/{first['id']}")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert (refused.status_code, gone.status_code) == (400, 404)


def test_a_port_that_is_taken_is_named_with_the_mend() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("sandbox", "--port", str(port))

    assert done.exit_code == 2
    assert str(port) in done.stderr
    assert "give another port" in done.stderr


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded conversations beside this checkout")
@pytest.mark.parametrize("name", ["tooltalk.jsonl", "airline.jsonl"])
def test_recorded_conversations_are_all_completed(tmp_path: Path, name: str) -> None:
    with (RECORDED / name).open("rb") as lines:
        few = b"".join(line for line, _ in zip(lines, range(8), strict=False))
    file = tmp_path / name
    file.write_bytes(few)
    done = run("replay", "--json", "--chain", "4", "--jobs", "1", "--row", "default", file)

    bare, default = json.loads(done.stdout)["rows"]
    assert done.exit_code == 0
    assert "conversations: 8, threads: 2" in done.stderr
    assert bare["turns"] == default["turns"] > 0
    assert bare["argument_recall"] == 1.0


def test_the_demo_runs_as_a_program() -> None:
    done = program("demo")

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "largest context" in done.stdout


def test_a_live_demo_without_a_key_ends_with_code_2() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    done = program("demo", "--live", env=environment)

    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stdout + done.stderr
