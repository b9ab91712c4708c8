"""The building: imports point downward only, files stay short, and what a module offers is written down."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import assistantguard

ROOT = Path(assistantguard.__file__).parent
LONGEST = 450
SLOW = (
    "sqlite3",
    "psycopg",
    "tiktoken",
    "genai_prices",
    "structlog",
    "tenacity",
    "docstring_parser",
    "opentelemetry",
    "starlette",
    "uvicorn",
    "typer",
    "rich",
    "jinja2",
)

FLOORS: dict[str, int] = {
    "errors": 0,
    "events": 0,
    "failures": 0,
    "model_limits": 0,
    "models": 0,
    "prices": 0,
    "tokens": 0,
    "_text": 0,
    "policies": 1,
    "pacing": 2,
    "storage": 2,
    "ledger": 2,
    "replies": 2,
    "telemetry": 2,
    "tools": 2,
    "carryover": 3,
    "engine": 3,
    "_alerts": 4,
    "_asyncio": 4,
    "_blocking": 4,
    "_calling": 4,
    "_threads": 4,
    "_unwinding": 4,
    "_watch": 4,
    "backends": 4,
    "_parameters": 4,
    "_refusals": 4,
    "_checks": 5,
    "_connections": 5,
    "_core": 5,
    "_described": 5,
    "_thread_book": 5,
    "_thread_changes": 5,
    "_wanted": 5,
    "async_guard": 5,
    "batches": 5,
    "dropin": 5,
    "guard": 5,
    "guarded_thread": 5,
    "lifecycle": 5,
    "streams": 5,
    "threads": 5,
    "": 5,
    "__main__": 7,
    "advice": 6,
    "cli": 7,
    "dashboard": 6,
    "demo": 6,
    "pages": 6,
    "forecast": 6,
    "replay": 6,
    "reports": 6,
    "sandbox": 6,
}
"""The floor of each module or package; "" is the package's own face."""

ENGINE_KNOWS_NOT = {"openai", "asyncio", "anyio", "threading", "sqlite3", "httpx", "httpx2"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package, by its dotted name within it."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def unit(name: str) -> str:
    """The module or package on a floor that a dotted name belongs to."""
    return name.split(".", maxsplit=1)[0]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """Every module that a file imports anywhere, for types too; `at_once` leaves only what importing it imports."""
    tree = tree_of(path)
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            inside = [alias.name for alias in node.names if alias.name in {unit(name) for name in MODULES}]
            if node.module == "assistantguard" and inside:
                yield from (f"assistantguard.{name}" for name in inside)
            else:
                yield node.module


def test_every_module_stands_on_a_floor() -> None:
    assert {unit(name) for name in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward_only(name: str) -> None:
    mine = FLOORS[unit(name)]
    for target in imported(MODULES[name]):
        package, _, inside = target.partition(".")
        if package != "assistantguard" or (not inside and mine >= FLOORS[""]):
            continue
        theirs = unit(inside)
        assert theirs == unit(name) or FLOORS[theirs] <= mine, f"{name} (floor {mine}) imports {target}"
        # On one floor a module may know its neighbours, but the ground knows nothing above it.
        assert not (mine == 0 and FLOORS[theirs] > 0)


def test_no_two_packages_wait_for_each_other_to_be_imported() -> None:
    edges = {
        (unit(name), unit(target.removeprefix("assistantguard.")))
        for name, path in MODULES.items()
        for target in imported(path, at_once=True)
        if target.startswith("assistantguard.")
    }
    circles = {(one, other) for one, other in edges if one < other and (other, one) in edges}
    assert not circles


@pytest.mark.parametrize("name", [name for name in MODULES if unit(name) in {"engine", "carryover", "policies"}])
def test_the_engine_knows_neither_the_sdk_nor_a_loop_nor_a_database(name: str) -> None:
    known = {target.split(".")[0] for target in imported(MODULES[name])}
    assert not known & ENGINE_KNOWS_NOT


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_too_long(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


def by_kind(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions: the order that the linter keeps too."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_what_a_module_offers_is_written_down_in_order(name: str) -> None:
    tree = tree_of(MODULES[name])
    written = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    assert len(written) == 1, "there is no __all__"
    (names,) = written
    assert names == sorted(set(names), key=by_kind)
    module = importlib.import_module(f"assistantguard.{name}".rstrip("."))
    assert all(hasattr(module, each) for each in names)
    made_here = {
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    assert made_here <= set(names), "made here and not written down"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    tree = tree_of(MODULES[name])
    assert ast.get_docstring(tree)
    assert any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
        for node in tree.body
    )


SCRIPT = f"""
import sys, threading
import openai
before = set(sys.modules)
import assistantguard
loaded = set({SLOW!r}) & (set(sys.modules) - before)
assert not loaded, loaded
assistantguard.AssistantGuard(openai.OpenAI(api_key="sk-x"), assistantguard.Assistant(model="gpt-6-luna"))
others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
assert all(thread.daemon for thread in others), others
"""


def test_importing_the_package_imports_nothing_slow_and_a_guard_keeps_no_program_alive() -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_face_is_what_the_package_offers() -> None:
    assert assistantguard.__all__ == sorted(assistantguard.__all__, key=by_kind)
    public = {name for name in vars(assistantguard) if not name.startswith("_")}
    submodules = {unit(name) for name in MODULES}
    own = public - submodules - {"annotations", "import_module", "Any", "TYPE_CHECKING"}
    later = set(assistantguard.__all__) - own
    assert own <= set(assistantguard.__all__)
    assert later, "what is imported at its first use is in no namespace before"
    for name in later:
        assert getattr(assistantguard, name).__name__ == name
