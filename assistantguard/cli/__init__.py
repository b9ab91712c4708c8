"""The command line: ``assistantguard report | replay | usage | budgets | threads | sweep | scan | serve | …``.

Exit codes: 0 done; 1 the command could not do its work (nothing to read, a reader that went away); 2 wrong
usage, a file that cannot be read, a port that is taken, or a missing extra; 130 interrupted.

typer and rich (the ``cli`` extra) are imported only when a command runs.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_EXTRAS = {
    "typer": "cli",
    "click": "cli",
    "rich": "cli",
    "jinja2": "cli",
    "starlette": "sandbox",
    "uvicorn": "sandbox",
}
_EXTRA_OF = {"dashboard": "dashboard", "serve": "server"}
"""What a command needs as a whole."""


def main() -> None:
    """Run the command line and exit."""
    try:
        from assistantguard.cli.app import app

        try:
            app(prog_name="assistantguard")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and must not find the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        extra = _EXTRA_OF.get("".join(sys.argv[1:2])) or _EXTRAS[missing]
        sys.stderr.write(
            f"assistantguard: this command needs {missing}, which is not installed:"
            f" pip install 'assistantguard[{extra}]'\n"
        )
        sys.exit(2)
