"""The examples run as a reader runs them, without a key."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))


@functools.cache
def run(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=100, env=environment, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_example_runs_without_a_key(script: str) -> None:
    assert run(f"examples/{script}").strip()


def test_the_converted_bot_answers_as_the_old_one_did() -> None:
    before = run("examples/support_bot_before.py").splitlines()
    after = run("examples/support_bot_after.py").splitlines()
    assert after[: len(before)] == before
    assert after[-1].startswith("3 runs, ")


def test_the_converted_bot_is_shorter() -> None:
    before, after = (
        (EXAMPLES / f"support_bot_{name}.py").read_text(encoding="utf-8").split("class SupportBot")[1].splitlines()
        for name in ("before", "after")
    )
    assert len(after) < len(before)


def test_the_policy_runs_the_tool_for_the_member_only() -> None:
    guest, member = run("examples/custom_policy.py").splitlines()
    assert guest.startswith("guest:")
    assert guest.endswith("(0 tool calls ran)")
    assert member.startswith("member:")
    assert member.endswith("(1 tool calls ran)")


def test_the_web_application_answers_each_user_on_a_thread_of_its_own() -> None:
    lines = run("examples/async_web_app.py").splitlines()
    assert lines[:3] == [f"{user}: 200 It is sent. ({user})" for user in ("maren", "ilse", "tomas")]
    assert lines[3] == "3 runs"


def test_the_budgets_refuse_the_fourth_message_and_warn_before_it() -> None:
    lines = run("examples/budgets.py").splitlines()
    warnings = [line for line in lines if line.startswith("Soon spent")]
    assert warnings == ["Soon spent: maren has used 2 of 3 messages"]
    assert [line for line in lines if line not in warnings] == [
        *(f"maren: You asked: Where is order {number}?" for number in (1, 2, 3)),
        "maren: used up, 0 messages left until 00:00",
        "ilse: You asked: Where is mine?",
        "maren has 2 of 5 messages left today",
        "maren: You asked: And where is order 5?",
    ]


def test_the_tests_of_a_users_bot_pass() -> None:
    assert "4 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_my_bot.py")
