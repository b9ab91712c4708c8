from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], pytest.RunResult]:
    """Run a test file with the plugin alone, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests: str) -> pytest.RunResult:
        pytester.makepyfile(tests)
        return pytester.runpytest_subprocess("-p", "pytest_assistantguard", "-W", "error")

    return run


def test_the_fixtures_give_running_sandboxes_that_end_with_the_test(run: Callable[[str], pytest.RunResult]) -> None:
    result = run(
        """
        import threading

        from assistantguard.sandbox import Fault

        urls = []

        def ask(sandbox, text):
            client = sandbox.client(max_retries=1)
            return client.responses.create(model="gpt-6-luna", input=text).output_text

        def test_simple(sandbox):
            assert ask(sandbox, "Hi") == "You said: Hi"

        def test_made(openai_sandbox):
            first = openai_sandbox(["one"], faults=[Fault.rate_limit(at=1, retry_after=0.01)])
            second = openai_sandbox(model=["two"])
            urls.append(first.base_url)
            assert (ask(first, "Hi"), ask(second, "Hi")) == ("one", "two")
            assert first.faults_fired == 1

        def test_closed():
            assert urls
            assert "assistantguard-sandbox" not in [thread.name for thread in threading.enumerate()]
        """
    )
    result.assert_outcomes(passed=3)


def test_a_script_that_is_not_used_up_fails_where_asked(run: Callable[[str], pytest.RunResult]) -> None:
    result = run(
        """
        def test_unused(openai_sandbox):
            openai_sandbox(["never asked for"], require_consumed=True)
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*the sandbox's script still holds 1 answers*"])


def test_fixtures_of_the_same_name_in_a_test_file_go_first(run: Callable[[str], pytest.RunResult]) -> None:
    result = run(
        """
        import pytest

        @pytest.fixture
        def sandbox():
            return "mine"

        def test_mine(sandbox):
            assert sandbox == "mine"
        """
    )
    result.assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_of_the_package() -> None:
    program = (
        "import sys; import pytest; before = set(sys.modules); import pytest_assistantguard;"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['pytest_assistantguard']"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_the_plugin_is_registered_and_shipped() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["entry-points"]["pytest11"] == {"assistantguard": "pytest_assistantguard"}
    assert "pytest_assistantguard" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
