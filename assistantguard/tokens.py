"""Token counts without a download and without a wait.

The o200k_base vocabulary ships with the package. It is loaded once per process, in the background
(`warm_up`), and nothing is loaded at import. On the path of a request `estimate` never waits: until the
vocabulary is there it answers from the text's UTF-8 bytes, which no byte-level tokenizer can exceed.

Counts are those of plain text. What the API adds (framing of messages, tool schemas) is not in them.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

if TYPE_CHECKING:
    import tiktoken

__all__ = [
    "Estimate",
    "count",
    "encoding_name",
    "estimate",
    "ready",
    "unavailable_reason",
    "wait_until_ready",
    "warm_up",
]

_VOCABULARY_FILE = "o200k_base.tiktoken.xz"
_VOCABULARY_BYTES = 3_613_922
_VOCABULARY_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# How o200k_base splits text before it merges bytes. Part of the encoding's definition, as the ranks are.
_SPLIT_PATTERN = "|".join(  # noqa: FLY002  one alternative a line
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

_PIECE = 50_000
"""Characters that are encoded at once: the tokenizer crashes on about a million of white space."""
_PIECE_SLACK = 2_000
"""How far back from a piece's end a place is looked for where the cut cannot change the count."""
_ENDS_A_WORD = frozenset(' \t\r\n,.;:!?"()[]{}<>=+*/|&%$#@_-。、，！？：；「」')  # noqa: RUF001  Chinese and Japanese too
"""Characters that cannot belong to the run of letters before them, whatever follows."""

_CACHE_CHARACTERS = 4_000_000
_CACHE_ENTRIES = 20_000
_PARSED_AT_ONCE = 4_096

_O200K = r"(?:gpt-4o|chatgpt-4o|gpt-4\.[15]|gpt-5(?:\.\d+)?|o[13]|o4-mini)(?:-.*)?"
_HARMONY = r"gpt-oss(?:-.*)?"
_CL100K = r"(?:gpt-4|gpt-3\.5|gpt-35)(?:-.*)?|text-embedding-(?:ada-002|3-small|3-large)|(?:davinci|babbage)-002"
_COUNTED_EXACTLY = frozenset({"o200k_base", "o200k_harmony"})
"""Encodings with the shipped ranks. They differ in special tokens only."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Estimate(Value):
    """How many tokens a text has. Add two with ``+``."""

    tokens: int
    """The best guess, for display and for accounting."""
    at_most: int
    """A bound that the true count does not pass, for hard caps."""
    exact: bool
    """Whether `tokens` is the true count (then `at_most` equals it)."""

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.tokens + other.tokens, self.at_most + other.at_most, self.exact and other.exact)


@functools.lru_cache(maxsize=1024)
def encoding_name(model: str | None) -> tuple[str, bool]:
    """Name the encoding of a model, and say whether that is known or a guess.

    A fine-tuned model (``ft:…``) has its base model's encoding. What is not known is guessed as
    ``o200k_base``.

    Args:
        model: An OpenAI model name, or None.

    Returns:
        The encoding's name in tiktoken's words, and whether it is known.
    """
    if model is None:
        return "o200k_base", False
    name = model.strip().lower()
    if name.startswith("ft:"):
        name = name.split(":")[1]
    if re.fullmatch(_O200K, name):
        return "o200k_base", True
    if re.fullmatch(_CL100K, name):
        return "cl100k_base", True
    if re.fullmatch(_HARMONY, name):
        return "o200k_harmony", True
    return "o200k_base", False


def warm_up() -> None:
    """Start loading the vocabulary in a daemon thread, once per process. Returns at once, cheap to repeat."""
    _vocabulary.start()


def ready() -> bool:
    """Whether the vocabulary is loaded, so that counts are exact."""
    return _vocabulary.encoding is not None


def wait_until_ready(timeout: float | None = None) -> bool:
    """Start the loading if nobody has, and wait for its end.

    Args:
        timeout: Seconds to wait at most; None waits as long as it takes.

    Returns:
        Whether the vocabulary is loaded. False where the time was up, or where it cannot be loaded:
        `unavailable_reason` tells the two apart.
    """
    return _vocabulary.wait(timeout) is not None


def unavailable_reason() -> str | None:
    """Why the vocabulary cannot be loaded, or None. Estimates go on in bytes."""
    return _vocabulary.failure


def count(text: str, model: str | None = None) -> int:  # noqa: ARG001  all are counted with what is shipped
    """Count the tokens of a text in the o200k vocabulary. Loads it if need be, and blocks while it loads.

    Text longer than 50,000 characters is counted in pieces. They end where an end cannot change the count
    (after a word or a line), if there is such a place nearby; otherwise the sum may differ from the whole's
    count by a few tokens.

    Args:
        text: Plain text. Names of special tokens in it count as the plain text that they are.
        model: The model that will read it. `encoding_name` tells whether this count is right for it.

    Raises:
        ConfigurationError: The vocabulary cannot be loaded; the message says why and what mends it.
    """
    counted = _counts.get(text) or _counted(_vocabulary.load(), text)
    return counted.shipped.tokens


def estimate(text: str, model: str | None = None) -> Estimate:
    """Tell what is known of a text's token count right now. Never waits for the vocabulary.

    With the vocabulary loaded, the count is exact for a model whose encoding is shipped, and a guess bounded
    by the text's UTF-8 bytes for any other. Without it, half the bytes is the guess and the bytes are the
    bound; the loading is then started, if nobody has.

    Args:
        text: Plain text.
        model: The model that will read it; None counts as unknown.
    """
    encoding = _vocabulary.encoding
    if encoding is None:
        _vocabulary.start()
        size = _utf8_size(text)
        return Estimate((size + 1) // 2, size, exact=False)
    name, certain = encoding_name(model)
    counted = _counts.get(text) or _counted(encoding, text)
    return counted.shipped if certain and name in _COUNTED_EXACTLY else counted.guess


class _Vocabulary:
    """The encoding, loaded at most once."""

    def __init__(self) -> None:
        self.encoding: tiktoken.Encoding | None = None
        self.failure: str | None = None
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Whether the loading has been started, or is done."""
        if self._thread is not None or self.done.is_set():
            return True
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._load_quietly, name="assistantguard-vocabulary", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is going down, or the platform has no threads
                    return False
                self._thread = thread
        return True

    def wait(self, timeout: float | None) -> tiktoken.Encoding | None:
        if self.encoding is None:
            if not self.start():
                self._load_quietly()
            self.done.wait(timeout)
        return self.encoding

    def load(self) -> tiktoken.Encoding:
        encoding = self.wait(None)
        if encoding is None:
            raise ConfigurationError(self.failure)
        return encoding

    def _load_quietly(self) -> None:
        try:
            self.encoding = _load_encoding()
        except ConfigurationError as error:
            self.failure = str(error)
        except BaseException as error:  # noqa: BLE001  a panic of the tokenizer is no Exception
            self.failure = (
                f"the token vocabulary cannot be loaded ({type(error).__name__}: {error}):"
                " reinstall tiktoken and assistantguard"
            )
        finally:
            self.done.set()


class _Counted:
    """One text's count, as it reads for a model of the shipped encoding and for any other."""

    __slots__ = ("guess", "shipped")

    def __init__(self, shipped: Estimate, guess: Estimate) -> None:
        self.shipped = shipped
        self.guess = guess


class _Counts:
    """The counts of recent texts, bounded by their total size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, _Counted] = OrderedDict()
        self._characters = 0

    def get(self, text: str) -> _Counted | None:
        with self._lock:
            found = self._counts.get(text)
            if found is not None:
                self._counts.move_to_end(text)
            return found

    def put(self, text: str, counted: _Counted) -> None:
        if len(text) > _CACHE_CHARACTERS // 4:
            return
        with self._lock:
            if text in self._counts:
                return
            self._counts[text] = counted
            self._characters += len(text)
            while self._characters > _CACHE_CHARACTERS or len(self._counts) > _CACHE_ENTRIES:
                oldest, _ = self._counts.popitem(last=False)
                self._characters -= len(oldest)


def _counted(encoding: tiktoken.Encoding, text: str) -> _Counted:
    pieces, exact = _pieces(text)
    tokens = sum(_count_piece(encoding, piece) for piece in pieces)
    at_most = max(tokens, _utf8_size(text))
    guess = Estimate(tokens, at_most, exact=False)
    counted = _Counted(Estimate(tokens, tokens, exact=True) if exact else guess, guess)
    _counts.put(text, counted)
    return counted


def _count_piece(encoding: tiktoken.Encoding, piece: str) -> int:
    try:
        return len(encoding.encode(piece, disallowed_special=()))
    except BaseException as error:
        # The tokenizer's PanicException derives from BaseException and cannot be imported.
        panicked = type(error).__name__ == "PanicException"
        if not panicked and not isinstance(error, ValueError):
            raise
        if len(piece) == 1:
            return _utf8_size(piece)
    middle = len(piece) // 2
    return _count_piece(encoding, piece[:middle]) + _count_piece(encoding, piece[middle:])


def _pieces(text: str) -> tuple[list[str], bool]:
    """Cut a text up, and say whether the pieces' counts add up to the count of the whole."""
    if len(text) <= _PIECE:
        return [text], True
    pieces = []
    start, exact = 0, True
    while len(text) - start > _PIECE:
        end = start + _PIECE
        harmless = next((place for place in range(end, end - _PIECE_SLACK, -1) if _splits(text, place)), None)
        if harmless is None:
            exact = False
        else:
            end = harmless
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return pieces, exact


def _splits(text: str, place: int) -> bool:
    """Whether the encoding itself splits the text before this place, whatever stands around it."""
    before, after = text[place - 1], text[place]
    if before == "\n":
        return after.isalpha() or after.isdecimal()
    return before.isalpha() and (after in _ENDS_A_WORD or after.isdecimal())


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _load_encoding() -> tiktoken.Encoding:
    with _importing:
        import hashlib
        import lzma
        from binascii import a2b_base64

        try:
            import tiktoken
        except ImportError as error:
            raise ConfigurationError(
                f"tiktoken cannot be imported ({error}), so tokens cannot be counted: pip install tiktoken"
            ) from error

    try:
        ranks_file = lzma.decompress(Path(__file__).with_name("_data").joinpath(_VOCABULARY_FILE).read_bytes())
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ConfigurationError(
            f"the token vocabulary {_VOCABULARY_FILE} cannot be read ({error}): reinstall assistantguard"
        ) from error
    digest = hashlib.sha256(ranks_file).hexdigest()
    if digest != _VOCABULARY_SHA256:
        raise ConfigurationError(
            f"token vocabulary {_VOCABULARY_FILE} is damaged: {len(ranks_file):,} bytes, SHA-256 {digest},"
            f" must be {_VOCABULARY_BYTES:,} bytes, {_VOCABULARY_SHA256}: reinstall assistantguard"
        )

    # Token and rank by turns. Taken in slices, so that other threads get their turn in between.
    fields = ranks_file.split()
    ranks: dict[bytes, int] = {}
    for start in range(0, len(fields), 2 * _PARSED_AT_ONCE):
        end = start + 2 * _PARSED_AT_ONCE
        tokens = map(a2b_base64, fields[start:end:2])
        ranks.update(zip(tokens, map(int, fields[start + 1 : end : 2]), strict=True))
    del fields, ranks_file
    return tiktoken.Encoding("o200k_base", pat_str=_SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={})


def _after_fork_in_child() -> None:
    """A child has none of its parent's threads: what was being loaded is loaded anew."""
    global _vocabulary, _counts  # noqa: PLW0603  state of the process, as the vocabulary is
    _importing.release()
    if _vocabulary.encoding is None:
        _vocabulary = _Vocabulary()
    _counts = _Counts()


_vocabulary = _Vocabulary()
_counts = _Counts()

# A child that is forked while another thread imports can never import that module: it inherits the module's
# lock, and nobody to release it. So a fork waits for the imports of the loading thread.
_importing = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_after_fork_in_child
    )
