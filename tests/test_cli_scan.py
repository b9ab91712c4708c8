from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assistantguard.cli.app import app

EXAMPLES = Path(__file__).parent.parent / "examples"
SERVED = "client.beta.threads.create()\n"
DIFFERENT = "client.beta.threads.runs.create('t', assistant_id='a', truncation_strategy={'type': 'auto'})\n"
NOT_SERVED = "client.beta.vector_stores.create()\n"


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["scan", *map(str, arguments)], env={"COLUMNS": "200"})


def program(folder: Path, *lines: str) -> Path:
    file = folder / "app.py"
    file.write_text("".join(lines))
    return file


def test_it_lists_each_call_with_its_place_its_verdict_and_what_to_do(tmp_path: Path) -> None:
    file = program(tmp_path, SERVED, DIFFERENT, NOT_SERVED)
    done = run(file)
    assert done.exit_code == 0
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "client.beta.threads.runs.create" in text
    assert "truncation_strategy=…:" in text
    assert "`ThreadRotation`" in text
    assert "drop `.beta`" in text
    assert "1 file read, 3 calls found: 1 served, 1 served with a difference, 1 not served" in done.stdout
    assert "app.py:3" in done.stdout


def test_json_is_one_document(tmp_path: Path) -> None:
    file = program(tmp_path, SERVED, DIFFERENT, NOT_SERVED, "helper(client.beta.threads)\n")
    document = json.loads(run(file, "--json").stdout)
    assert document["calls"] == {"found": 3, "served": 1, "served_with_a_difference": 1, "not_served": 1}
    assert (document["files"], document["skipped"]) == (1, [])
    assert [(each["line"], each["kind"], each["verdict"]) for each in document["findings"]] == [
        (1, "call", "served"),
        (2, "call", "served with a difference"),
        (3, "call", "not served"),
        (4, "unfollowed", None),
    ]
    difference = document["findings"][1]
    assert (difference["file"], difference["cell"], difference["column"]) == (str(file), None, 1)
    assert [remark["about"] for remark in difference["remarks"]] == ["truncation_strategy"]


@pytest.mark.parametrize(("line", "code"), [(SERVED, 0), (DIFFERENT, 0), (NOT_SERVED, 1)])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_fail_ends_with_one_where_something_is_not_served(
    tmp_path: Path, line: str, code: int, form: tuple[str, ...]
) -> None:
    file = program(tmp_path, line)
    assert run(file, *form, "--fail").exit_code == code
    assert run(file, *form).exit_code == 0


def test_what_is_skipped_is_named_on_standard_error_and_counted(tmp_path: Path) -> None:
    program(tmp_path, SERVED)
    for number in range(23):
        (tmp_path / f"broken_{number:02}.py").write_text("def (")
    done = run(tmp_path)
    assert done.exit_code == 0
    assert "1 file read, 1 call found: 1 served" in done.stdout
    assert "23 skipped" in done.stdout
    assert "broken_19.py" in done.stderr
    assert "broken_20.py" not in done.stderr
    assert "skipped 3 more (--json)" in done.stderr
    assert len(json.loads(run(tmp_path, "--json").stdout)["skipped"]) == 23


def test_a_program_without_the_old_api_is_said_to_have_no_call(tmp_path: Path) -> None:
    done = run(program(tmp_path, "client.responses.create(model='m')\n"))
    assert (done.exit_code, done.stdout.splitlines()[0].partition(":")[0]) == (0, "1 file read, 0 calls found")


def test_a_path_that_is_missing_is_wrong_usage_and_one_without_programs_is_told(tmp_path: Path) -> None:
    missing = run(tmp_path / "absent")
    assert (missing.exit_code, "does not exist" in missing.stderr) == (2, True)
    (tmp_path / "notes.md").touch()
    empty = run(tmp_path)
    assert empty.exit_code == 1
    assert "no Python file was read" in empty.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
def test_names_of_files_cannot_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "evil\x1b[2J.py").write_text(SERVED)
    (tmp_path / "worse\x1b[2J.py").write_text("def (")
    for done in (run(tmp_path), run(tmp_path, "--json")):
        assert "\x1b[2J" not in done.stdout + done.stderr


def test_the_application_of_the_examples_is_served_in_full() -> None:
    document = json.loads(run(EXAMPLES / "legacy_app.py", "--json").stdout)
    found = {each["name"].rpartition(".")[2] for each in document["findings"] if each["kind"] == "call"}
    assert found >= {"create_and_poll", "stream", "submit_tool_outputs_stream", "list", "cancel", "delete"}
    assert document["calls"]["found"] == document["calls"]["served"]
