"""Refusals, in the words that applications look for."""

from __future__ import annotations

import re

import pytest

from assistantguard._refusals import ApiProblem, invalid
from assistantguard.dropin import problems
from tests.support.contract import contract_problems

LOCKED = (
    r"(?:Can't add messages to (thread_\w+) while a run (run_\w+) is active)"
    r"|(?:Thread (thread_\w+) already has an active run (run_\w+))"
)

ALL: list[tuple[ApiProblem, int, str, str | None, str | None]] = [
    (problems.not_found("assistant", "asst_1"), 404, "No assistant found with id 'asst_1'.", None, None),
    (problems.not_found("thread", "thread_1"), 404, "No thread found with id 'thread_1'.", None, None),
    (problems.not_found("run step", "step_1"), 404, "No run step found with id 'step_1'.", None, None),
    (
        problems.messages_locked("thread_1", "run_1"),
        400,
        "Can't add messages to thread_1 while a run run_1 is active.",
        None,
        None,
    ),
    (
        problems.run_active("thread_1", "run_1"),
        400,
        "Thread thread_1 already has an active run run_1.",
        None,
        None,
    ),
    (
        problems.wrong_outputs(["call_a", "call_b"], ["call_a"]),
        400,
        "Expected tool outputs for call_ids ['call_a', 'call_b'], got ['call_a']",
        None,
        None,
    ),
    (problems.wrong_outputs(["call_a"], []), 400, "Expected tool outputs for call_ids ['call_a'], got []", None, None),
    (
        problems.outputs_not_accepted("expired"),
        400,
        'Runs in status "expired" do not accept tool outputs.',
        None,
        None,
    ),
    (problems.cannot_cancel("completed"), 400, "Cannot cancel run with status 'completed'.", None, None),
    (problems.unknown_cursor("msg_1", "before"), 404, "Item with id 'msg_1' not found.", "before", None),
    (problems.unknown_route("GET", "/threads"), 404, "Invalid URL (GET /threads)", None, None),
    (
        problems.wrong_method("PUT", "/threads"),
        405,
        "Not allowed to PUT on /threads (HINT: Perhaps you meant to use a different HTTP method?)",
        None,
        None,
    ),
    (invalid("limit", "No."), 400, "No.", "limit", None),
    (
        problems.not_served("The moon is not served", "take the sun"),
        400,
        "The moon is not served: take the sun.",
        None,
        "not_served_by_assistantguard",
    ),
]


@pytest.mark.parametrize(("problem", "status", "message", "param", "code"), ALL)
def test_a_problem_says_what_the_api_said(
    problem: ApiProblem, status: int, message: str, param: str | None, code: str | None
) -> None:
    assert problem.status == status
    assert str(problem) == message
    assert problem.body() == {
        "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    }


@pytest.mark.parametrize("problem", [each[0] for each in ALL])
def test_every_body_keeps_the_official_contract(problem: ApiProblem) -> None:
    assert contract_problems("ErrorResponse", problem.body()) == []


@pytest.mark.parametrize(
    "problem", [problems.messages_locked("thread_1", "run_2"), problems.run_active("thread_1", "run_2")]
)
def test_applications_find_the_run_that_locks_a_thread(problem: ApiProblem) -> None:
    found = re.search(LOCKED, problem.message)

    assert found is not None
    assert [group for group in found.groups() if group] == ["thread_1", "run_2"]
