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


OLD_API = ("The Assistants API is deprecated", "deprecated", "use `stream` instead")
"""What the SDK warns of at each call to it."""
WARNINGS = ",".join(["error", *(f"ignore:{text}:DeprecationWarning" for text in OLD_API)])


@functools.cache
def run(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": WARNINGS}
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
    shown, warning = run("examples/budgets.py"), "Soon spent: maren has used 2 of 3 messages"
    assert shown.count("Soon spent") == shown.count(warning) == 1
    # A thread prints it: it may stand between another line and its end.
    assert [line for line in shown.replace(warning, "").splitlines() if line] == [
        *(f"maren: You asked: Where is order {number}?" for number in (1, 2, 3)),
        "maren: used up, 0 messages left until 00:00",
        "ilse: You asked: Where is mine?",
        "maren has 2 of 5 messages left today",
        "maren: You asked: And where is order 5?",
    ]


def test_of_many_at_once_the_repeated_are_free_the_easy_are_cheap_and_what_can_wait_costs_half() -> None:
    assert run("examples/traffic.py").splitlines() == [
        "12 users at once: 10 answers were known by then",
        "paid for: 1 on gpt-6-luna, 1 on gpt-6-sol",
        "batch: 5 completed, 1 out of the cache",
        "it cost 50% of the standard price",
    ]


def test_the_application_of_old_runs_with_the_one_line() -> None:
    lines = [line for line in run("examples/legacy_app.py").splitlines() if not line.startswith("run.cancelled ")]
    assert lines == [
        "W2378156 is sent.",
        "For 30 days, in the original box.",
        "W4817420 is packed.",
        "The run is cancelled.",
        "W2378156 is sent.",
        "9 messages, the first: Where is order W2378156?",
    ]


def test_the_application_of_old_knows_nothing_of_a_guard() -> None:
    source = (EXAMPLES / "legacy_app.py").read_text(encoding="utf-8")
    application = source.partition('"""')[2].partition('"""')[2].partition("def model(")[0]
    assert "guard" not in application.replace("import assistantguard\nfrom assistantguard.sandbox", "")
    assert "client = assistantguard.drop_in(OpenAI())" in source


def test_the_tests_of_a_users_bot_pass() -> None:
    assert "4 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_my_bot.py")
