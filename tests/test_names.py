"""Names of users, tenants and threads: what is refused, and what the refusal says."""

from __future__ import annotations

from typing import Any

import pytest

from assistantguard import ConfigurationError
from assistantguard.models.names import check_name


@pytest.mark.parametrize(
    "name", ["u", "u-42", "a@b.example", "x:y%z", "Jörg Müller", "山田", "x" * 256, " padded ", "\U0001f468‍\U0001f469"]
)
def test_a_name_is_returned_as_it_is(name: str) -> None:
    assert check_name("user", name) is name


@pytest.mark.parametrize("name", [None, 42, b"maren", True, ["maren"]])
def test_what_is_no_text_is_refused_with_its_value(name: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_name("user", name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", "\t \n"])
def test_a_name_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the tenant is .* says nothing"):
        check_name("tenant", name)


def test_a_name_that_is_too_long_is_refused_with_its_length_and_the_limit() -> None:
    with pytest.raises(ConfigurationError, match=r"10,000 characters, at most 256 are allowed") as caught:
        check_name("user", "x" * 10_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(ConfigurationError, match="257 characters"):
        check_name("user", "x" * 257)


@pytest.mark.parametrize("control", ["\x00", "\n", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"])
def test_a_control_character_is_refused_with_its_code_and_position(control: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"U\+{ord(control):04X} at position 4") as caught:
        check_name("thread name", f"abc{control}def")
    assert "the thread name" in str(caught.value)
    assert str(caught.value).isprintable(), "what is refused does not reach a terminal or a log"
