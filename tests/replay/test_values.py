from __future__ import annotations

import pytest

from assistantguard.replay import argument_values, holds


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ('{"a": "W1", "b": {"c": ["x-2", 30]}, "d": 4.50}', ("W1", "x-2", "30", "4.50")),
        ('{"yes": true, "no": false, "none": null}', ()),
        ('{"short": "a", "digit": 7, "empty": "", "spaces": "   "}', ()),
        ('{"padded": "  W1  "}', ("W1",)),
        ('["plain", 12]', ("plain", "12")),
        ("not json", ()),
        ("[" * 100_000, ()),
    ],
)
def test_values_are_the_leaves_that_say_something(arguments: str, values: tuple[str, ...]) -> None:
    assert argument_values(arguments) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("order W1, please", "W1"),
        ("W1", "W1"),
        ('{"id":"mia_li_3668"}', "mia_li_3668"),
        ("it costs $51.", "51"),
        ("51, 52", "51"),
        ("W12 and W1", "W1"),
        ("订单W1号", "W1"),
        ('{"name": "Jos\\u00e9"}', "José"),
        ('{"say": "a \\"big\\" bell"}', 'a "big" bell'),
        ("ends with (x)", "(x)"),
    ],
)
def test_a_text_holds_a_value_on_boundaries(text: str, value: str) -> None:
    assert holds(text, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("order W12", "W1"),
        ("order XW1", "W1"),
        ("mia_li_3668", "li"),
        ("it costs 51.20", "51"),
        ("it costs 1,051", "051"),
        ("Kim", "kim"),
        ("", "W1"),
    ],
)
def test_a_part_of_a_longer_word_or_number_is_not_the_value(text: str, value: str) -> None:
    assert not holds(text, value)
