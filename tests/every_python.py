"""Runs the suite on every Python from 3.10 up that this machine has: those on PATH, and those of pyenv.

Each gets an environment of its own (``.venv-py3.12``), made with uv. Arguments are handed to pytest. The exit code is 0
only if there was a Python and the suite passed on all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Interpreter", "candidates", "interpreters", "main"]

OLDEST = (3, 10)
ROOT = Path(__file__).parents[1]
_NAMES = re.compile(r"python(3(\.\d+)?)?(\.exe)?")
_PROBE = (
    "import sys; print(*sys.version_info[:3], sys.version_info.releaselevel, sys.implementation.name, sys.executable)"
)


@dataclass(frozen=True, order=True)
class Interpreter:
    """A Python of this machine."""

    version: tuple[int, int, int]
    final: bool
    """False for alphas, betas and release candidates."""
    path: str

    @property
    def minor(self) -> tuple[int, int]:
        return self.version[:2]

    def __str__(self) -> str:
        return ".".join(map(str, self.version)) + ("" if self.final else " (pre-release)")


def candidates(path: str, pyenv_root: Path) -> Iterator[Path]:
    """Files that may be Pythons, in the folders of `path` and of pyenv's versions."""
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    folders += sorted(pyenv_root.glob("versions/*/bin"))
    for folder in folders:
        if folder.is_dir():
            yield from (file for file in sorted(folder.iterdir()) if _NAMES.fullmatch(file.name))


def interpreters(files: Iterable[Path]) -> list[Interpreter]:
    """The newest CPython of each minor version from 3.10 up, oldest version first."""
    newest: dict[tuple[int, int], Interpreter] = {}
    for file in dict.fromkeys(files):
        found = _probe(file)
        if found is not None and found.minor >= OLDEST:
            newest[found.minor] = max(found, newest.get(found.minor, found))
    return sorted(newest.values())


def _probe(file: Path) -> Interpreter | None:
    """What `file` says of itself; None where it is no Python that runs (a pyenv shim without a version, say)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "__PYVENV"))}
    try:
        probed = subprocess.run(
            [str(file), "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=environment,
            cwd=ROOT.anchor,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = probed.stdout.split(maxsplit=5)
    if probed.returncode or len(fields) != 6 or fields[4] != "cpython":
        return None
    major, minor, patch = map(int, fields[:3])
    return Interpreter((major, minor, patch), fields[3] == "final", fields[5].strip())


def main(arguments: Sequence[str]) -> int:
    """Run the suite everywhere and print a summary."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        return _say("uv is missing: run this with `make test-all`, or `pip install uv` first", 1)
    pyenv_root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = interpreters(candidates(os.environ.get("PATH", ""), pyenv_root))
    if not found:
        return _say("no Python from 3.10 up was found on PATH or among pyenv's versions", 1)
    _say(f"Found Python {', '.join(map(str, found))}.")
    rows: list[str] = []
    failed = False
    for interpreter in found:
        _say(f"\n=== Python {interpreter} ===")
        began = time.monotonic()
        outcome = _run(uv, interpreter, arguments)
        failed = failed or outcome != "passed"
        rows.append(f"{interpreter!s:<24}{outcome:<24}{time.monotonic() - began:6.0f} s")
    _say("\n" + "\n".join(rows))
    return int(failed)


def _run(uv: str, interpreter: Interpreter, arguments: Sequence[str]) -> str:
    """Make the environment and run the suite in it; say what came of it."""
    folder = ROOT / f".venv-py{interpreter.minor[0]}.{interpreter.minor[1]}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    steps = {
        "no environment": [uv, "venv", "--quiet", "--allow-existing", "--python", interpreter.path, str(folder)],
        "not installable": [
            *(uv, "pip", "install", "--quiet", "--python", str(python)),
            *("--editable", ".[all]", "--group", "dev"),
        ],
        "failed": [str(python), "-m", "pytest", "-n", "4", "--dist", "loadfile", *arguments],
    }
    for trouble, command in steps.items():
        if subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode:
            return trouble
    return "passed"


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
