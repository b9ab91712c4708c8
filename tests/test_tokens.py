from __future__ import annotations

import hashlib
import inspect
import lzma
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiktoken_ext.openai_public  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from assistantguard import tokens
from assistantguard.errors import ConfigurationError
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    import multiprocessing.queues
    from collections.abc import Callable, Iterator

_SHARED_VOCABULARY = Path(__file__).parents[2] / "shared" / "vocabulary" / "o200k_base.tiktoken.xz"


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    assert tokens.wait_until_ready(30)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """A process that has not loaded the vocabulary; returns what replaces the loading."""
    vocabulary = tokens._Vocabulary()
    monkeypatch.setattr(tokens, "_vocabulary", vocabulary)
    monkeypatch.setattr(tokens, "_counts", tokens._Counts())

    def loads(load: Callable[[], Any]) -> None:
        monkeypatch.setattr(tokens, "_load_encoding", load)

    yield loads
    if vocabulary._thread is not None:
        vocabulary.done.wait(30)


def _encode(text: str) -> int:
    encoding = tokens._vocabulary.encoding
    assert encoding is not None
    return len(encoding.encode(text, disallowed_special=()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("<|endoftext|>", 7),
    ],
)
def test_counts_are_those_of_the_o200k_vocabulary(text: str, expected: object) -> None:
    assert expected == tokens.count(text)


def test_the_split_pattern_is_tiktokens_own() -> None:
    source = inspect.getsource(tiktoken_ext.openai_public.o200k_base)
    alternatives = re.findall(r'r"""(.*?)"""', source)

    assert "|".join(alternatives) == tokens._SPLIT_PATTERN


def test_the_shipped_vocabulary_has_the_hash_that_tiktoken_expects() -> None:
    packed = (resources.files("assistantguard") / "_data" / "o200k_base.tiktoken.xz").read_bytes()
    digest = hashlib.sha256(lzma.decompress(packed)).hexdigest()

    assert digest == tokens._VOCABULARY_SHA256
    assert digest in inspect.getsource(tiktoken_ext.openai_public.o200k_base)


@pytest.mark.skipif(not _SHARED_VOCABULARY.exists(), reason="../shared/vocabulary is not here")
def test_the_shipped_vocabulary_is_the_shared_one() -> None:
    shipped = (resources.files("assistantguard") / "_data" / "o200k_base.tiktoken.xz").read_bytes()

    assert shipped == _SHARED_VOCABULARY.read_bytes()


@given(st.text())
def test_bytes_bound_the_count(text: str) -> None:
    estimate = tokens.estimate(text, "gpt-5")

    assert estimate.exact
    assert estimate.tokens == estimate.at_most == tokens.count(text)
    assert estimate.tokens <= len(text.encode("utf-8", "surrogatepass"))


_PROSE = st.text(st.sampled_from("aZ é1一2 .,'’s\n\r\t-_字。́/  "), min_size=30, max_size=120)  # noqa: RUF001


@given(_PROSE)
@settings(max_examples=300)
def test_a_cut_that_is_called_harmless_leaves_the_count_as_it_is(text: str) -> None:
    for place in range(1, len(text)):
        if tokens._splits(text, place):
            assert _encode(text) == _encode(text[:place]) + _encode(text[place:])


def test_long_prose_is_counted_exactly_in_pieces() -> None:
    text = "The order #W2378156 was sent to Jörg's flat on 2026-11-22.\n" * 4_000
    assert len(text) > 4 * tokens._PIECE

    estimate = tokens.estimate(text, "gpt-5")

    assert estimate == Estimate(_encode(text), _encode(text), exact=True)


@pytest.mark.parametrize("text", [" " * 1_000_000, "\n" * 1_000_000, "^" * 300_000, "a" * 300_000])
def test_text_that_no_cut_leaves_alone_is_counted_without_a_crash_and_not_called_exact(text: str) -> None:
    estimate = tokens.estimate(text, "gpt-5")

    assert 0 < estimate.tokens <= estimate.at_most == len(text)
    assert not estimate.exact


def test_lone_surrogates_are_counted() -> None:
    assert tokens.count("before \ud800 after") > 0
    assert not tokens.estimate("\ud800" * 3, "gpt-6-luna").exact


def test_a_tokenizer_that_panics_is_asked_again_with_less() -> None:
    class PanicException(BaseException):
        pass

    class Panicking:
        def encode(self, text: str, *, disallowed_special: tuple[()]) -> list[int]:
            assert disallowed_special == ()
            if len(text) > 3:
                raise PanicException
            return [0] * len(text)

    assert tokens._count_piece(Panicking(), "abcdefghij") == 10  # type: ignore[arg-type]


def test_interrupts_are_not_swallowed_as_panics() -> None:
    class Interrupted:
        def encode(self, text: str, *, disallowed_special: tuple[()]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokens._count_piece(Interrupted(), "abc")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5", ("o200k_base", True)),
        ("gpt-5.6-sol", ("o200k_base", True)),
        ("gpt-5-mini-2025-08-07", ("o200k_base", True)),
        ("gpt-4.1-nano", ("o200k_base", True)),
        ("gpt-4o-2024-08-06", ("o200k_base", True)),
        ("chatgpt-4o-latest", ("o200k_base", True)),
        ("o1", ("o200k_base", True)),
        ("o3-mini", ("o200k_base", True)),
        ("o4-mini", ("o200k_base", True)),
        ("GPT-4O", ("o200k_base", True)),
        ("ft:gpt-4.1-mini-2025-04-14:acme::abc", ("o200k_base", True)),
        ("ft:gpt-4o:acme::abc", ("o200k_base", True)),
        ("ft:gpt-3.5-turbo:acme::abc", ("cl100k_base", True)),
        ("gpt-4", ("cl100k_base", True)),
        ("gpt-4-turbo", ("cl100k_base", True)),
        ("gpt-3.5-turbo-0125", ("cl100k_base", True)),
        ("gpt-35-turbo", ("cl100k_base", True)),
        ("gpt-oss-120b", ("o200k_harmony", True)),
        ("gpt-6-luna", ("o200k_base", False)),
        ("gpt-50", ("o200k_base", False)),
        ("llama-4", ("o200k_base", False)),
        ("", ("o200k_base", False)),
        ("ft:", ("o200k_base", False)),
        (None, ("o200k_base", False)),
    ],
)
def test_a_models_encoding_is_known_or_called_a_guess(model: str | None, expected: object) -> None:
    assert expected == tokens.encoding_name(model)


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-4", "llama-4", None])
def test_a_model_whose_encoding_is_not_shipped_gets_a_guess_bounded_by_bytes(model: str | None) -> None:
    text = "Wo ist die Bestellung für Jörg?"

    estimate = tokens.estimate(text, model)

    assert estimate == Estimate(tokens.count(text), len(text.encode()), exact=False)


def test_estimates_add_up_and_one_guess_makes_the_sum_a_guess() -> None:
    exact, guess = Estimate(3, 3, exact=True), Estimate(5, 9, exact=False)

    assert exact + exact == Estimate(6, 6, exact=True)
    assert exact + guess == Estimate(8, 12, exact=False)


def test_an_estimate_does_not_wait_for_the_vocabulary_and_starts_its_loading(
    unloaded: Callable[[Callable[[], Any]], None],
) -> None:
    encoding = tokens._load_encoding()
    may_finish = threading.Event()

    def slow() -> object:
        may_finish.wait(30)
        return encoding

    unloaded(slow)

    before = tokens.estimate("für Jörg!", "gpt-5")
    assert before == Estimate(6, 11, exact=False)
    assert not tokens.ready()
    assert not tokens.wait_until_ready(0.01)
    assert tokens.unavailable_reason() is None

    may_finish.set()
    assert tokens.wait_until_ready(30)
    assert tokens.estimate("für Jörg!", "gpt-5") == Estimate(_encode("für Jörg!"), _encode("für Jörg!"), exact=True)


def test_the_vocabulary_is_loaded_once_however_many_ask(
    unloaded: Callable[[Callable[[], Any]], None],
) -> None:
    encoding = tokens._load_encoding()
    loads = []

    def load() -> object:
        loads.append(1)
        time.sleep(0.05)
        return encoding

    unloaded(load)
    tokens.warm_up()
    tokens.warm_up()
    threads = [threading.Thread(target=tokens.count, args=("hello",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert loads == [1]
    assert tokens.count("hello world") == 2


def test_a_damaged_vocabulary_is_named_and_estimates_go_on_in_bytes(
    unloaded: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_VOCABULARY_SHA256", "0" * 64)

    with pytest.raises(ConfigurationError, match=r"is damaged: 3,613,922 bytes.*reinstall assistantguard"):
        tokens.count("hello")

    assert "is damaged" in (tokens.unavailable_reason() or "")
    assert not tokens.wait_until_ready(30)
    assert tokens.estimate("hello", "gpt-5") == Estimate(3, 5, exact=False)


def test_a_missing_tiktoken_is_named_and_estimates_go_on_in_bytes(
    unloaded: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)

    with pytest.raises(ConfigurationError, match="pip install tiktoken"):
        tokens.count("hello")

    assert tokens.estimate("hello", "gpt-5") == Estimate(3, 5, exact=False)


def test_a_panic_while_loading_wakes_those_who_wait(unloaded: Callable[[Callable[[], Any]], None]) -> None:
    class PanicException(BaseException):
        pass

    def panic() -> None:
        raise PanicException("out of regexes")

    unloaded(panic)

    assert not tokens.wait_until_ready(30)
    assert "PanicException: out of regexes" in (tokens.unavailable_reason() or "")


def test_where_no_thread_can_start_counting_still_works(
    unloaded: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)

        assert tokens.estimate("hello", "gpt-5") == Estimate(3, 5, exact=False)
        assert tokens.count("hello world") == 2


def test_the_cache_is_bounded_by_size_and_keeps_what_was_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_CACHE_CHARACTERS", 100)
    counts = tokens._Counts()
    counted = tokens._Counted(Estimate(1, 1, exact=True), Estimate(1, 1, exact=False))
    for letter in "abcde":
        counts.put(letter * 20, counted)

    assert counts.get("a" * 20) is counted
    counts.put("f" * 20, counted)

    assert counts.get("a" * 20) is counted
    assert counts.get("b" * 20) is None
    assert counts.get("c" * 20) is counted


def test_a_text_that_would_fill_the_cache_alone_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_CACHE_CHARACTERS", 100)
    counts = tokens._Counts()
    counts.put("x" * 26, tokens._Counted(Estimate(1, 1, exact=True), Estimate(1, 1, exact=False)))

    assert counts.get("x" * 26) is None


def test_a_cached_text_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a sentence that is asked for twice"
    first = tokens.estimate(text, "gpt-5")
    monkeypatch.setattr(tokens, "_count_piece", None)

    assert first == tokens.estimate(text, "gpt-5")
    assert first.tokens == tokens.count(text)


def test_threads_may_count_at_once() -> None:
    texts = [f"sentence number {number} of many" for number in range(200)]
    expected = [_encode(text) for text in texts]
    results: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: results.append([tokens.count(text) for text in texts])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [expected] * 4


def _count_in_child(queue: multiprocessing.queues.SimpleQueue[Any]) -> None:
    queue.put((tokens.estimate("hello world", "gpt-5").exact, tokens.count("hello world")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_the_vocabulary_loads_loads_its_own(
    unloaded: Callable[[Callable[[], Any]], None],
) -> None:
    load = tokens._load_encoding
    parent = os.getpid()
    may_finish = threading.Event()

    def slow_in_the_parent() -> object:
        if os.getpid() == parent:
            may_finish.wait(30)
        return load()

    unloaded(slow_in_the_parent)
    tokens.warm_up()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_count_in_child, args=(queue,))
    child.start()
    child.join(60)
    may_finish.set()

    assert child.exitcode == 0
    assert queue.get() == (False, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_waits_for_the_imports_of_the_loading_thread() -> None:
    importing, imported = threading.Event(), threading.Event()

    def import_slowly() -> None:
        with tokens._importing:
            importing.set()
            time.sleep(0.1)
            imported.set()

    thread = threading.Thread(target=import_slowly)
    thread.start()
    importing.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if imported.is_set() else 1)
    thread.join()

    assert os.waitpid(child, 0)[1] == 0


def test_importing_the_module_loads_neither_tokenizer_nor_vocabulary() -> None:
    code = (
        "import sys, threading\n"
        "import assistantguard.tokens as tokens\n"
        "print('tiktoken' in sys.modules, tokens.ready(), threading.active_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False", "1"]
