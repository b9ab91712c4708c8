"""The README cannot lie: its Python runs, its commands and defaults exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import typer.core
import typer.main
from typer.testing import CliRunner

import assistantguard
from assistantguard import AssistantGuard, default_policies
from assistantguard.cli.app import app
from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox
from tests.support.databases import fresh_url

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = "advise|batch|budgets|dashboard|demo|forecast|import|replay|report|sandbox|scan|serve|sweep|threads|usage"
ELSEWHERE = "postgresql://guard@db.internal/guard"
"""The database server of the text; the tests have one of their own."""


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def model(request: ModelRequest) -> FunctionCall | str:
    """Looks the order up that the user names, and answers."""
    order = re.search(r"W\d+", request.last_user_text)
    functions = [tool["name"] for tool in request.tools if tool["type"] == "function"]
    if order and functions and request.items[-1]["type"] == "message":
        return FunctionCall(functions[0], {"order_id": order[0]})
    return "It is on its way."


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(model) as sandbox:
        monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", sandbox.api_key)
        monkeypatch.chdir(tmp_path)
        yield sandbox


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[openai.OpenAI]]:
    """Clients that the snippets open and leave open are closed."""
    opened: list[openai.OpenAI] = []
    construct = openai.OpenAI.__init__

    def note(self: openai.OpenAI, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        opened.append(self)

    monkeypatch.setattr(openai.OpenAI, "__init__", note)
    yield opened
    for client in opened:
        client.close()


@pytest.fixture
def server_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database on a PostgreSQL server, in place of the one that the text names."""
    with fresh_url("postgresql", tmp_path, lambda: request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[AssistantGuard]]:
    """Guards that the snippets make, and leave open with their databases, are closed."""
    made: list[AssistantGuard] = []
    construct = AssistantGuard.__init__

    def note(self: AssistantGuard, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(AssistantGuard, "__init__", note)
    yield made
    for guard in made:
        guard.close()


def run_snippets(sandbox: Sandbox, server_url: str) -> dict[str, Any]:
    """Run all of them in order, as one program, with the names that the text says are the reader's own."""
    lookups: list[str] = []

    def look_up_order(order_id: str) -> dict[str, str]:
        """Look up an order."""
        lookups.append(order_id)
        return {"order_id": order_id, "status": "sent"}

    client = sandbox.client()
    ids = [client.files.create(file=(f"{n}.txt", b"text"), purpose="assistants").id for n in range(2)]
    names: dict[str, Any] = {
        "__name__": "readme",
        "orders": SimpleNamespace(lookup=look_up_order),
        "lookup": look_up_order,
        "look_up_order": look_up_order,
        "lookups": lookups,
    }
    for number, source in enumerate(blocks("python"), 1):
        code = source.replace("file-abc", ids[0]).replace("file-def", ids[1]).replace(ELSEWHERE, server_url)
        exec(compile(code, f"README.md, Python block {number}", "exec", dont_inherit=True), names)
        names[f"after_{number}"] = dict(names)
    return names


def run_commands(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of a section, those for cron too."""
    ran = 0
    for line in "\n".join([*blocks("sh", text), *blocks("cron", text)]).splitlines():
        program, *arguments = shlex.split(line.partition("* * *")[2] or line, comments=True) or [""]
        if program == "export":
            monkeypatch.setenv(*arguments[0].split("=", 1))
        elif program == "assistantguard":
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, (line, done.output)
            ran += 1
    assert ran == text.count("\nassistantguard ") + text.count("* * *  assistantguard ")


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:deprecated$:DeprecationWarning")
def test_every_python_block_runs_in_the_order_in_which_it_stands(
    sandbox: Sandbox,
    clients: list[openai.OpenAI],
    guards: list[AssistantGuard],
    server_url: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = run_snippets(sandbox, server_url)
    assert names["run"].status == "completed"
    first = names["after_1"]
    assert first["reply"].text == "It is on its way."
    assert first["lookups"] == ["W2378156"]
    assert sandbox.billing.vector_stores_created == 1
    assert "It is on its way." in capsys.readouterr().out
    assert (tmp_path / "events.jsonl").read_text().count("run.settled") == 2
    with pytest.raises(assistantguard.PolicyRefused):
        names["strict"].chat("Do my homework")
    assert clients
    assert any(guard.ledger is not None and "postgresql" in repr(guard.ledger) for guard in guards)
    assert names["again"].text == names["reply"].text
    assert names["again"].run.id == names["reply"].run.id
    assert names["left"].left == 99
    run_commands(section("In production"), monkeypatch)


def test_the_face_stands_in_the_first_python_block_in_fifteen_lines() -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 15
    assert README.index("make demo") < README.index("make test") < README.index(lines[0])


def test_the_table_shows_the_default_policies_as_they_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", README, re.MULTILINE)
    shown = {name: default.strip("`") for name, default in rows}
    real = {policy.name: policy for policy in default_policies()}
    assert {name for name, default in shown.items() if default != "off"} == set(real)
    for name, policy in real.items():
        assert vars(eval(shown[name], vars(assistantguard).copy())) == vars(policy)


def test_every_command_shown_exists_with_its_options() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    shown = re.findall(rf"assistantguard ({COMMANDS})([^\n`]*)", "\n".join(blocks("sh")) + README)
    assert {name for name, _ in shown} >= {"replay", "report", "sandbox", "sweep", "usage", "budgets", "threads"}
    for name, rest in shown:
        one = command.commands[name]
        below = list(one.commands.values()) if isinstance(one, typer.core.TyperGroup) else []
        options = {option for each in (one, *below) for parameter in each.params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= options
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_name_in_the_error_tree_is_an_error_below_the_one_it_stands_under() -> None:
    tree = next(text for text in blocks("text") if "AssistantGuardError" in text)
    group: type[BaseException] = assistantguard.AssistantGuardError
    shown = 0
    for line in tree.splitlines()[1:]:
        for name in re.findall(r"\b[A-Z]\w+", line):
            error = getattr(assistantguard, name, None)
            if error is None:
                assert name == "ValueError"
                continue
            shown += 1
            if line.startswith(("├", "└")) and line[4:].startswith(name):
                group = assistantguard.AssistantGuardError
            assert issubclass(error, group)
            if group is assistantguard.AssistantGuardError:
                group = error
    assert shown == 27


def test_it_names_no_path_of_a_machine() -> None:
    assert not re.search(r"/(work|home|tmp|root)/", README)
