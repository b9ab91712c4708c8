"""Finding the calls to the old API in a Python code base."""

from __future__ import annotations

import ast
import json
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assistantguard.dropin.calls import Use, uses
from assistantguard.dropin.surface import Verdict
from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Record, Value

__all__ = ["Finding", "Scan", "Skipped", "scan"]

LARGEST = 16 << 20
"""Bytes; a larger file is data rather than a program."""

_SUFFIXES = {".py", ".pyw", ".pyi", ".ipynb"}
_LEFT_OUT = {
    ".eggs",
    ".git",
    ".hg",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    "__pycache__",
    "node_modules",
    "site-packages",
    "venv",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Finding(Value):
    """A use of the old API in a file."""

    file: str
    cell: int | None
    """The cell of a notebook, from 1; None in other files. Lines are then the cell's own."""
    use: Use

    @property
    def place(self) -> str:
        """File and line, as editors and terminals know them."""
        within = "" if self.cell is None else f"cell {self.cell}:"
        return f"{self.file}:{within}{self.use.line}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Skipped(Value):
    """A file, or a notebook's cell, that was not read."""

    file: str
    reason: str


@dataclass(slots=True, eq=False, repr=False)
class Scan(Record):
    """What was found in a code base."""

    files: int = 0
    """How many were read, notebooks among them."""
    findings: list[Finding] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def calls(self, verdict: Verdict | None = None) -> int:
        """Return how many calls were found, addresses among them; those with a verdict if one is given."""
        return sum(
            finding.use.kind in {"call", "address"} and verdict in {None, finding.use.verdict}
            for finding in self.findings
        )

    def count(self, verdict: Verdict) -> int:
        """Return how many uses have a verdict, whatever their kind."""
        return sum(finding.use.verdict == verdict for finding in self.findings)


def scan(paths: Sequence[Path], *, progress: Callable[[str], None] | None = None) -> Scan:
    """Read files and directories, and list what uses the old API in them.

    Args:
        paths: Files, which are read whatever their names end in, and directories, of which ``.py``, ``.pyw``, ``.pyi``
            and ``.ipynb`` files are; links to directories, virtual environments, version control and caches are left
            out.
        progress: Called with each file before it is read.

    Raises:
        ConfigurationError: A path does not exist.
    """
    result = Scan()
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"{path} does not exist: give a Python file, a notebook or a directory of them")
    seen: set[str] = set()
    for file in _files(paths, result):
        real = os.path.realpath(file)  # Path.resolve raises for a link to itself
        if real in seen:
            continue
        seen.add(real)
        if progress is not None:
            progress(str(file))
        _read(file, result)
    return result


def _files(paths: Sequence[Path], result: Scan) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path, onerror=lambda error: _note(result, error)):
            if folder != str(path) and _is_environment(folder, names):
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            yield from (Path(folder, name) for name in sorted(names) if Path(name).suffix in _SUFFIXES)


def _is_environment(folder: str, names: Sequence[str]) -> bool:
    return "pyvenv.cfg" in names or Path(folder, "conda-meta").is_dir()


def _note(result: Scan, error: OSError) -> None:
    result.skipped.append(Skipped(str(error.filename), error.strerror or type(error).__name__))


def _read(file: Path, result: Scan) -> None:
    name = str(file)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            result.skipped.append(Skipped(name, "it is no regular file"))
            return
        if status.st_size > LARGEST:
            megabytes = LARGEST >> 20
            result.skipped.append(Skipped(name, f"it is larger than {megabytes} MiB"))
            return
        source = file.read_bytes()
    except OSError as error:
        result.skipped.append(Skipped(name, error.strerror or type(error).__name__))
        return
    if file.suffix == ".ipynb":
        _read_notebook(name, source, result)
        return
    found = _uses(source)
    if isinstance(found, str):
        result.skipped.append(Skipped(name, found))
        return
    result.files += 1
    result.findings += [Finding(name, None, use) for use in found]


def _read_notebook(name: str, source: bytes, result: Scan) -> None:
    """Read the cells as one program, so that a client of one cell is known in the next."""
    try:
        document = json.loads(source)
        cells = list(_cells(document))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        result.skipped.append(Skipped(name, "it is no notebook"))
        return
    lines: list[str] = []
    origins: list[tuple[int, int]] = []
    for number, cell in cells:
        reason = _refused(cell)
        if reason is not None:
            result.skipped.append(Skipped(f"{name}:cell {number}", reason))
            continue
        own = cell.split("\n")
        lines += own
        origins += [(number, line) for line in range(1, len(own) + 1)]
    found = _uses("\n".join(lines).encode("utf-8", "replace"))
    if isinstance(found, str):
        result.skipped.append(Skipped(name, found))
        return
    result.files += 1
    for use in found:
        number, line = origins[use.line - 1]
        result.findings.append(Finding(name, number, replace(use, line=line)))


def _cells(document: Any) -> Iterator[tuple[int, str]]:
    """The cells of Python, with their numbers; what only IPython understands is replaced by nothing."""
    language = document.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    if language != "python":
        return
    for number, cell in enumerate(document["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")
        if text.lstrip().startswith("%%") and not text.lstrip().startswith(("%%time", "%%capture")):
            continue
        yield number, "\n".join(_without_magic(line) for line in text.split("\n"))


def _without_magic(line: str) -> str:
    text = line.lstrip()
    if text.startswith(("%", "!", "?")) or (text.endswith("?") and "#" not in text):
        return line[: len(line) - len(text)] + "pass"
    return line


def _refused(cell: str) -> str | None:
    try:
        _parsed(cell.encode("utf-8", "replace"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _reason(error)
    return None


def _uses(source: bytes) -> list[Use] | str:
    """The uses in a program's text, or why it cannot be read."""
    try:
        return uses(_parsed(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _reason(error)


def _parsed(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the scanned program's own making
        return ast.parse(source)


def _reason(error: BaseException) -> str:
    if isinstance(error, (RecursionError, MemoryError)):
        return "it is nested too deeply to be read"
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if isinstance(error, SyntaxError):
        return f"{version} cannot read it: {error.msg}" + (f" (line {error.lineno})" if error.lineno else "")
    return f"{version} cannot read it: {error}"
