"""`/files`: uploads, kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistantguard._parameters import enumeration, integer, string
from assistantguard._refusals import ApiProblem, invalid, missing, wrong_type
from assistantguard.sandbox.paging import page
from assistantguard.sandbox.problems import not_found, script_problem
from assistantguard.sandbox.validation import check_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from assistantguard._parameters import Check
    from assistantguard.sandbox.state import State

__all__ = ["Files", "StoredFile"]

_PURPOSE = enumeration("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_EXPIRY: dict[str, Check] = {
    "anchor": enumeration("created_at"),
    "seconds": integer(minimum=3600, maximum=2_592_000),
}
_FORM: dict[str, Check] = {
    "purpose": _PURPOSE,
    "expires_after[anchor]": string(),
    "expires_after[seconds]": string(),
}
_NOT_DOWNLOADED = ("assistants", "user_data")
LARGEST_BATCH = 200 * 1024 * 1024
_BATCH_KEPT = 30 * 86_400


@dataclass(slots=True, eq=False)
class StoredFile:
    """An uploaded file."""

    id: str
    content: bytes
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None

    @property
    def document(self) -> dict[str, Any]:
        """The file as the API shows it."""
        shown: dict[str, Any] = {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }
        if self.expires_at is not None:
            shown["expires_at"] = self.expires_at
        return shown

    @property
    def text(self) -> str:
        """The content as text, with a mark for each byte that is none."""
        return self.content.decode(errors="replace")


class Files:
    """Serves `/files`.

    Args:
        state: Ids and the clock.
        on_delete: Told the id of each file that is deleted.
    """

    def __init__(self, state: State, on_delete: Callable[[str], None]) -> None:
        self._state = state
        self._on_delete = on_delete
        self._files: dict[str, StoredFile] = {}

    def get(self, file_id: str) -> StoredFile:
        """Return a file.

        Raises:
            ApiProblem: 404 where there is none of that id, or it has expired.
        """
        found = self._files.get(file_id)
        if found is None or (found.expires_at is not None and found.expires_at <= self._state.now()):
            raise not_found(f"No such File object: {file_id}", param="id")
        return found

    async def create(self, request: Request) -> dict[str, Any]:
        """Answer `POST /files`."""
        from starlette.datastructures import UploadFile

        try:
            import python_multipart  # noqa: F401 - what starlette reads forms with
        except ModuleNotFoundError:
            raise script_problem(
                "package_missing",
                "uploads need the package 'python-multipart'; run: pip install 'assistantguard[sandbox]'",
            ) from None
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise invalid(None, "Expected a multipart/form-data body with a 'file' part.")
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if name != "file"}
            upload = form.get("file")
            if upload is None:
                raise missing("file")
            check_fields(fields, _FORM, required=("purpose",))
            if not isinstance(upload, UploadFile):
                raise wrong_type("file", "a file", upload)
            content = await upload.read()
            filename = upload.filename or "upload"
        purpose = str(fields["purpose"])
        seconds = _seconds_kept(fields)
        if purpose == "batch":
            if not filename.endswith(".jsonl"):
                raise invalid(None, "Invalid file format for Batch API. Must be .jsonl")
            if len(content) > LARGEST_BATCH:
                raise ApiProblem(413, f"The file has {len(content):,} bytes; a batch may have {LARGEST_BATCH:,}.")
            seconds = _BATCH_KEPT if seconds is None else seconds
        return self.add(content, filename, purpose, seconds).document

    def add(self, content: bytes, filename: str, purpose: str, seconds: int | None) -> StoredFile:
        """Keep a file for so many seconds, or until it is deleted where None."""
        created = int(self._state.now())
        expires = None if seconds is None else created + seconds
        stored = StoredFile(self._state.ids.make("file-"), content, filename, purpose, created, expires)
        self._files[stored.id] = stored
        return stored

    def list_all(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer `GET /files`."""
        purpose = query.get("purpose")
        now = self._state.now()
        documents = [
            file.document
            for file in self._files.values()
            if purpose in {None, file.purpose} and (file.expires_at is None or file.expires_at > now)
        ]
        return page(documents, query, default=10_000, maximum=10_000)

    def content(self, file_id: str) -> bytes:
        """Answer `GET /files/{id}/content`."""
        file = self.get(file_id)
        if file.purpose in _NOT_DOWNLOADED:
            raise ApiProblem(400, f"Not allowed to download files of purpose: {file.purpose}")
        return file.content

    def delete(self, file_id: str) -> dict[str, Any]:
        """Answer `DELETE /files/{id}`. The file leaves all vector stores too."""
        self.get(file_id)
        del self._files[file_id]
        self._on_delete(file_id)
        return {"id": file_id, "object": "file", "deleted": True}


def _seconds_kept(fields: Mapping[str, Any]) -> int | None:
    if not any(name.startswith("expires_after") for name in fields):
        return None
    seconds = fields.get("expires_after[seconds]", "")
    expiry: dict[str, Any] = {"seconds": int(seconds) if str(seconds).isdecimal() else seconds}
    if "expires_after[anchor]" in fields:
        expiry["anchor"] = fields["expires_after[anchor]"]
    check_fields(expiry, _EXPIRY, required=("anchor", "seconds"), prefix="expires_after.")
    return int(expiry["seconds"])
