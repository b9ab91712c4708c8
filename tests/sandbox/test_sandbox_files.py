from __future__ import annotations

from typing import Any

import openai
import pytest

from assistantguard.sandbox import Answer, Embedding, FileSearch, Sandbox

MODEL = "gpt-6-luna"
DAY = 86_400


def _upload(call: Any, sandbox: Sandbox, name: str = "terms.txt", text: str = "Refunds take five days.") -> str:
    uploaded = call(sandbox, "files.create", file=(name, text.encode()), purpose="assistants")
    return str(uploaded.id)


def test_a_file_is_uploaded_listed_read_and_deleted(call: Any) -> None:
    with Sandbox() as sandbox:
        uploaded = call(sandbox, "files.create", file=("report.csv", b"a,b\n\xff"), purpose="vision")
        _upload(call, sandbox)

        assert (uploaded.filename, uploaded.bytes, uploaded.purpose) == ("report.csv", 5, "vision")
        assert uploaded.id.startswith("file-sandbox_")
        assert call(sandbox, "files.retrieve", uploaded.id) == uploaded
        assert call(sandbox, "files.content", uploaded.id).content == b"a,b\n\xff"
        assert [file.filename for file in call(sandbox, "files.list").data] == ["terms.txt", "report.csv"]
        assert len(call(sandbox, "files.list", purpose="vision").data) == 1
        assert call(sandbox, "files.delete", uploaded.id).deleted
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {uploaded.id}"):
            call(sandbox, "files.retrieve", uploaded.id)


def test_files_of_assistants_are_not_downloaded(call: Any) -> None:
    with Sandbox() as sandbox:
        file_id = _upload(call, sandbox)
        with pytest.raises(openai.BadRequestError, match="Not allowed to download files of purpose: assistants"):
            call(sandbox, "files.content", file_id)


def test_a_file_expires_by_the_sandboxs_clock(call: Any) -> None:
    with Sandbox() as sandbox:
        expiry = {"anchor": "created_at", "seconds": 3600}
        uploaded = call(sandbox, "files.create", file=("a.txt", b"a"), purpose="user_data", expires_after=expiry)
        assert uploaded.expires_at == uploaded.created_at + 3600

        sandbox.advance(3601)
        with pytest.raises(openai.NotFoundError):
            call(sandbox, "files.retrieve", uploaded.id)
        assert call(sandbox, "files.list").data == []


def test_a_store_embeds_its_files_once_and_the_bill_counts_them(call: Any) -> None:
    with Sandbox() as sandbox:
        file_ids = [_upload(call, sandbox, f"{name}.txt") for name in "ab"]
        store = call(sandbox, "vector_stores.create", name="set", file_ids=file_ids)
        call(sandbox, "vector_stores.files.create", store.id, file_id=file_ids[0])
        other = call(sandbox, "vector_stores.create", file_ids=file_ids[:1])

        assert store.id.startswith("vs_sandbox_")
        assert (store.status, store.file_counts.completed, store.file_counts.total) == ("completed", 2, 2)
        assert sandbox.billing.vector_stores_created == 2
        assert sandbox.billing.files_embedded == {file_ids[0]: 2, file_ids[1]: 1}
        assert [one.id for one in call(sandbox, "vector_stores.list").data] == [other.id, store.id]


def test_slow_files_are_in_progress_until_their_time(call: Any) -> None:
    with Sandbox(embedding=Embedding(seconds=30)) as sandbox:
        file_id = _upload(call, sandbox)
        store = call(sandbox, "vector_stores.create", file_ids=[file_id])
        assert (store.status, store.file_counts.in_progress, store.usage_bytes) == ("in_progress", 1, 0)

        sandbox.advance(31)
        store = call(sandbox, "vector_stores.retrieve", store.id)
        assert (store.status, store.file_counts.in_progress) == ("completed", 0)
        assert store.usage_bytes > 0


@pytest.mark.parametrize("named", ["by name", "by id"])
def test_a_store_is_completed_although_a_file_failed(call: Any, named: str) -> None:
    failing: list[str] = ["bad.txt"] if named == "by name" else []
    with Sandbox(embedding=Embedding(failing=failing, error_code="invalid_file")) as sandbox:
        good, bad = _upload(call, sandbox), _upload(call, sandbox, "bad.txt")
        if named == "by id":
            failing.append(bad)
        store = call(sandbox, "vector_stores.create", file_ids=[good, bad])

        assert (store.status, store.file_counts.completed, store.file_counts.failed) == ("completed", 1, 1)
        (failed,) = call(sandbox, "vector_stores.files.list", store.id, filter="failed").data
        assert (failed.id, failed.status, failed.last_error.code) == (bad, "failed", "invalid_file")


def test_the_sdks_poll_helper_ends(call: Any) -> None:
    with Sandbox(embedding=Embedding(seconds=0.05)) as sandbox:
        store = call(sandbox, "vector_stores.create")
        batch = call(
            sandbox,
            "vector_stores.file_batches.create_and_poll",
            store.id,
            file_ids=[_upload(call, sandbox)],
            poll_interval_ms=20,
        )

        assert (batch.status, batch.file_counts.completed) == ("completed", 1)


def test_a_batch_is_created_listed_and_cancelled(call: Any) -> None:
    with Sandbox(embedding=Embedding(seconds=60)) as sandbox:
        store = call(sandbox, "vector_stores.create").id
        files = [{"file_id": _upload(call, sandbox), "attributes": {"kind": "terms"}}]
        batch = call(
            sandbox, "vector_stores.file_batches.create", store, extra_body={"files": files}, file_ids=openai.NOT_GIVEN
        )
        listed = call(sandbox, "vector_stores.file_batches.list_files", batch.id, vector_store_id=store)
        cancelled = call(sandbox, "vector_stores.file_batches.cancel", batch.id, vector_store_id=store)
        read = call(sandbox, "vector_stores.file_batches.retrieve", batch.id, vector_store_id=store)

        assert batch.status == "in_progress"
        assert listed.data[0].attributes == {"kind": "terms"}
        assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 1)
        assert read == cancelled


def test_a_file_in_a_store_is_read_updated_and_removed(call: Any) -> None:
    with Sandbox() as sandbox:
        file_id = _upload(call, sandbox)
        store = call(sandbox, "vector_stores.create", file_ids=[file_id]).id
        updated = call(sandbox, "vector_stores.files.update", file_id, vector_store_id=store, attributes={"year": 2026})
        assert updated == call(sandbox, "vector_stores.files.retrieve", file_id, vector_store_id=store)
        assert updated.attributes == {"year": 2026}

        assert call(sandbox, "vector_stores.files.delete", file_id, vector_store_id=store).deleted
        with pytest.raises(openai.NotFoundError, match=f"No file found with id '{file_id}' in vector store '{store}'"):
            call(sandbox, "vector_stores.files.retrieve", file_id, vector_store_id=store)
        assert call(sandbox, "files.retrieve", file_id).id == file_id


def test_deleting_a_file_takes_it_out_of_all_stores(call: Any) -> None:
    with Sandbox() as sandbox:
        file_id = _upload(call, sandbox)
        store = call(sandbox, "vector_stores.create", file_ids=[file_id]).id
        call(sandbox, "files.delete", file_id)

        assert call(sandbox, "vector_stores.retrieve", store).file_counts.total == 0


def test_an_idle_store_expires_and_loses_its_files(call: Any) -> None:
    with Sandbox() as sandbox:
        file_id = _upload(call, sandbox)
        expiry = {"anchor": "last_active_at", "days": 7}
        store = call(sandbox, "vector_stores.create", file_ids=[file_id], expires_after=expiry)
        assert store.expires_at == store.last_active_at + 7 * DAY
        search = [{"type": "file_search", "vector_store_ids": [store.id]}]

        sandbox.advance(6 * DAY)
        call(sandbox, "responses.create", model=MODEL, input="Hi", tools=search)
        sandbox.advance(6 * DAY)
        assert call(sandbox, "vector_stores.retrieve", store.id).status == "completed"
        sandbox.advance(2 * DAY)
        expired = call(sandbox, "vector_stores.retrieve", store.id)

        assert (expired.status, expired.file_counts.total) == ("expired", 0)
        with pytest.raises(openai.BadRequestError, match=f"Vector store '{store.id}' has expired"):
            call(sandbox, "responses.create", model=MODEL, input="Hi", tools=search)
        with pytest.raises(openai.BadRequestError, match="has expired"):
            call(sandbox, "vector_stores.files.create", store.id, file_id=file_id)


def test_a_stores_expiry_is_set_and_cleared(call: Any) -> None:
    with Sandbox() as sandbox:
        store = call(sandbox, "vector_stores.create", metadata={"set": "1"}).id
        expiry = {"anchor": "last_active_at", "days": 1}
        named = call(sandbox, "vector_stores.update", store, name="terms", expires_after=expiry)
        cleared = call(sandbox, "vector_stores.update", store, expires_after=None)

        assert (named.name, named.expires_after.days, named.metadata) == ("terms", 1, {"set": "1"})
        assert (cleared.name, cleared.expires_after, cleared.expires_at) == ("terms", None, None)


def test_a_deleted_store_is_gone_and_its_files_stay(call: Any) -> None:
    with Sandbox() as sandbox:
        file_id = _upload(call, sandbox)
        store = call(sandbox, "vector_stores.create", file_ids=[file_id]).id
        assert call(sandbox, "vector_stores.delete", store).deleted

        with pytest.raises(openai.NotFoundError, match=f"No vector store found with id '{store}'"):
            call(sandbox, "vector_stores.retrieve", store)
        search = [{"type": "file_search", "vector_store_ids": [store]}]
        with pytest.raises(openai.NotFoundError, match="not found"):
            call(sandbox, "responses.create", model=MODEL, input="Hi", tools=search)
        assert call(sandbox, "files.retrieve", file_id).id == file_id


def test_a_search_finds_the_files_that_share_its_words(call: Any) -> None:
    with Sandbox() as sandbox:
        refunds = _upload(call, sandbox, "refunds.txt", "Refunds take five days.")
        bags = _upload(call, sandbox, "bags.txt", "Two bags are free.")
        store = call(sandbox, "vector_stores.create", file_ids=[refunds, bags]).id
        found = call(sandbox, "vector_stores.search", store, query="how many days do refunds take").data

        assert [one.filename for one in found] == ["refunds.txt"]
        assert found[0].content[0].text == "Refunds take five days."
        assert 0 < found[0].score <= 1


def test_the_model_searches_files_and_what_it_finds_is_billed_as_input(call: Any, count_input: Any) -> None:
    search = [FileSearch("refunds days"), FileSearch("bags", results=["Two bags are free."])]
    script = [Answer("Five days.", file_search=search)] * 3
    with Sandbox(script) as sandbox:
        store = call(sandbox, "vector_stores.create", file_ids=[_upload(call, sandbox)]).id
        asked = {
            "model": MODEL,
            "input": "How long?",
            "tools": [{"type": "file_search", "vector_store_ids": [store]}],
        }
        counted = count_input(sandbox, **asked)
        plain = call(sandbox, "responses.create", **asked)
        shown = call(sandbox, "responses.create", include=["file_search_call.results"], **asked)
        limited = call(sandbox, "responses.create", max_tool_calls=1, **asked)

        assert [item.type for item in plain.output] == ["file_search_call", "file_search_call", "message"]
        assert plain.output[0].results is None
        assert [item.results[0].text for item in shown.output[:2]] == [
            "Refunds take five days.",
            "Two bags are free.",
        ]
        assert len(limited.output) == 2
        assert plain.usage.input_tokens > limited.usage.input_tokens > counted
        assert [row.file_searches for row in sandbox.billing.calls] == [2, 2, 1]


def test_without_the_tool_nothing_is_searched(call: Any) -> None:
    with Sandbox([Answer("Five days.", file_search=[FileSearch("refunds")])]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="How long?")

        assert [item.type for item in response.output] == ["message"]
        assert sandbox.billing.calls[0].file_searches == 0


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("files.create", {"file": ("a.txt", b"a"), "purpose": "nonsense"}, "Invalid value: 'nonsense'"),
        ("vector_stores.create", {"file_ids": ["file-none"]}, "No such File object: file-none"),
        ("vector_stores.create", {"file_ids": ["f"] * 501}, "maximum length 500"),
        (
            "vector_stores.create",
            {"expires_after": {"anchor": "last_active_at", "days": 0}},
            "Expected a value >= 1, but got 0",
        ),
        (
            "vector_stores.create",
            {"expires_after": {"anchor": "last_active_at", "days": 366}},
            "Expected a value <= 365, but got 366",
        ),
        ("vector_stores.create", {"metadata": {str(n): "v" for n in range(17)}}, "at most 16 properties"),
        ("vector_stores.create", {"extra_body": {"files": []}}, "Unknown parameter: 'files'"),
    ],
)
def test_bad_requests_are_refused(call: Any, method: str, params: dict[str, Any], told: str) -> None:
    with Sandbox() as sandbox, pytest.raises(openai.APIStatusError, match=told) as caught:
        call(sandbox, method, **params)

    assert caught.value.status_code in {400, 404}
    assert caught.value.type == "invalid_request_error"


def test_a_batch_takes_file_ids_or_files(call: Any) -> None:
    with Sandbox() as sandbox:
        store = call(sandbox, "vector_stores.create").id
        with pytest.raises(openai.BadRequestError, match="exactly one of 'file_ids' and 'files'"):
            call(sandbox, "vector_stores.file_batches.create", store, file_ids=[], extra_body={"files": []})
