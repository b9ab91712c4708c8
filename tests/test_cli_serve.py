from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from typer.testing import CliRunner

from assistantguard.cli.app import app
from assistantguard.sandbox import Sandbox

PROGRAM = (sys.executable, "-W", "error", "-m", "assistantguard.cli", "serve", "--port", "0")
KEY = "sk-server-of-ours"
pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:deprecated$:DeprecationWarning"),
]


def refused(*arguments: str | Path, **options: Any) -> str:
    done = CliRunner().invoke(app, ["serve", *map(str, arguments)], **options)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr
    return re.sub(r"[\s│]+", " ", done.stderr)


class Program:
    """``assistantguard serve`` before a sandbox."""

    def __init__(self, sandbox: Sandbox, *arguments: str, **variables: str) -> None:
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": sandbox.base_url,
            "OPENAI_API_KEY": sandbox.api_key,
            "COLUMNS": "300",
            **variables,
        }
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"http://\S+/v1", self.said)
        assert found is not None, self.said + self.process.stderr.read()
        self.base_url = found[0]

    def ends(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; the exit code, and what it said after its first line."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        with self.process.stdout as stdout, self.process.stderr as stderr:
            remarks, said = stderr.read(), stdout.read()
        return self.process.wait(60), said, remarks


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def served(sandbox: Sandbox, *arguments: str, **variables: str) -> Program:
    return Program(sandbox, *arguments, **variables)


def test_it_serves_under_its_own_key_and_keeps_threads(sandbox: Sandbox, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# ours\n\n{KEY}\nsk-another\n")
    options = (
        "--key-file",
        str(keys),
        "--ledger",
        f"sqlite:///{tmp_path / 'guard.db'}",
        "--events",
        str(tmp_path / "e"),
    )
    program = served(sandbox, *options)
    try:
        assert "2 keys" in program.said
        with openai.OpenAI(base_url=program.base_url, api_key=KEY, max_retries=0) as client:
            assistant = client.beta.assistants.create(model="gpt-6-luna")
            thread = client.beta.threads.create(messages=[{"role": "user", "content": "A private word"}])
            run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
            assert run.status == "completed"
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                client.with_options(api_key=sandbox.api_key).beta.threads.retrieve(thread.id)
    finally:
        code, said, remarks = program.ends()
    assert (code, said, remarks) == (0, "", "")
    events = (tmp_path / "e").read_text()
    assert "run.settled" in events
    for secret in (KEY, sandbox.api_key, "A private word"):
        assert secret not in events
        assert secret not in program.said
    program = served(sandbox, *options)
    try:
        with openai.OpenAI(base_url=program.base_url, api_key="sk-another", max_retries=0) as client:
            assert client.beta.threads.retrieve(thread.id).id == thread.id
    finally:
        assert program.ends(signal.SIGINT)[0] == 0


def test_on_loopback_it_needs_no_key_and_says_that_memory_ends_with_it(sandbox: Sandbox) -> None:
    program = served(sandbox)
    try:
        assert "no key needed" in program.said
        assert httpx.get(program.base_url.replace("/v1", "/health")).json() == {"status": "ok"}
        assert httpx.post(f"{program.base_url}/threads").status_code == 200
    finally:
        code, _, remarks = program.ends()
    assert code == 0
    assert "give --ledger URL" in remarks


def test_keys_come_from_the_environment_and_limits_from_options(sandbox: Sandbox) -> None:
    program = served(sandbox, "--max-body", "20", ASSISTANTGUARD_SERVER_KEYS=f" {KEY} , sk-b")
    try:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        assert httpx.post(f"{program.base_url}/threads").status_code == 401
        assert httpx.post(f"{program.base_url}/threads", headers=headers).status_code == 200
        assert httpx.post(f"{program.base_url}/threads", headers=headers, content=b" " * 21).status_code == 413
    finally:
        program.ends()


def test_elsewhere_than_on_loopback_it_refuses_to_listen_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    told = refused("--host", "0.0.0.0", "--port", "0")
    assert "has no keys of its own: give --key-file FILE, or set ASSISTANTGUARD_SERVER_KEYS" in told


def test_a_missing_key_for_the_models_is_told() -> None:
    assert "set OPENAI_API_KEY" in refused("--port", "0")


@pytest.mark.parametrize("text", ["", "# none\n\n", "\ufeff".encode("utf-16").decode("latin-1")])
def test_a_key_file_without_keys_is_no_open_door(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="latin-1")
    assert str(file) in refused("--key-file", file)


def test_a_variable_without_keys_is_no_open_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSISTANTGUARD_SERVER_KEYS", " , ")
    assert "ASSISTANTGUARD_SERVER_KEYS holds no key" in refused()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--key-file", "/nowhere/keys"], "cannot read /nowhere/keys"),
        (["--port", "70000"], "it must be at most 65535"),
        (["--max-body", "0"], "it must be at least 1"),
        (["--max-concurrent", "0"], "it must be at least 1"),
        (["--read-seconds", "0"], "it must be at least 1"),
        (["--write-seconds", "0"], "it must be at least 1"),
        (["--grace", "-1"], "it must be at least 0"),
        (["--on-refusal", "perhaps", "--port", "0"], "on_refusal"),
        (["--max-turns", "0"], "0"),
        (["--session-token-ceiling", "1"], "TokenCap session is 1"),
        (["--ledger", "mysql://x", "--port", "0"], "mysql"),
        (["--events", "/nowhere/events", "--port", "0"], "/nowhere/events"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(arguments: list[str], told: str) -> None:
    assert told in refused(*arguments)
