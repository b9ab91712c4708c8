"""What pages are made of: axes, charts, tables, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.pages import (
    Column,
    Figure,
    Mark,
    Series,
    Table,
    column_chart,
    compact,
    compact_dollars,
    content_security_policy,
    environment,
    line_chart,
    nice_axis,
    script_text,
    style_text,
)

HOSTILE = "<script>alert(1)</script>\"'&\u202e\x00"
NOTHING = Table("nothing", [Column("x")], [])


@given(st.floats(1e-9, 1e15))
def test_an_axis_reaches_what_it_shows_and_not_twice_as_far(greatest: float) -> None:
    axis = nice_axis(greatest)
    assert greatest * (1 - 1e-8) <= axis.end < 2 * greatest
    assert axis.ticks[0] == 0
    assert axis.ticks[-1] == axis.end


@pytest.mark.parametrize("greatest", [0.0, -1.0, float("nan"), float("inf")])
def test_an_axis_of_nothing_has_whole_numbers(greatest: float) -> None:
    assert nice_axis(greatest).ticks == (0, 1, 2, 3, 4)


def test_numbers_are_short() -> None:
    assert [compact(each) for each in (0, 950, 12_500, 3e6, 2.5e9)] == ["0", "950", "12.5k", "3M", "2.5G"]
    assert [compact_dollars(each) for each in (0, 0.25, 1500, 2e-5)] == ["$0", "$0.25", "$1.5k", "$2.0e-05"]


def test_columns_stand_on_one_another_and_reach_their_sum() -> None:
    chart = column_chart("Cost", ["a", "b"], [Series("one", [1, 4]), Series("two", [1, None])])
    columns = [
        (float(each.get("y", "")), float(each.get("height", ""))) for each in ET.fromstring(str(chart.svg)).iter("rect")
    ]
    assert columns == [(225.0, 75.0), (150.0, 75.0), (0.0, 300.0)]
    assert chart.y_labels == ("4", "3", "2", "1", "0")
    assert chart.table.rows == [["a", "1", "1"], ["b", "4", "unknown"]]


def test_a_chart_of_one_moment_or_of_nothing_can_be_drawn() -> None:
    for points in ([], [(5.0, 10.0)]):
        chart = line_chart("Context", points, x_labels=[], table=NOTHING, summary="")
        ET.fromstring(str(chart.svg))
    assert column_chart("Cost", [], []).x_labels == ()


def test_texts_in_a_chart_stay_text() -> None:
    columns = column_chart(HOSTILE, [HOSTILE], [Series(HOSTILE, [1.0])])
    line = line_chart(
        HOSTILE, [(0, 1)], x_labels=[HOSTILE], table=NOTHING, marks=[Mark(0, HOSTILE)], mark_name="m", summary=HOSTILE
    )
    for chart in (columns, line):
        drawn = ET.fromstring(str(chart.svg))
        assert {each.tag for each in drawn.iter()} <= {"svg", "line", "rect", "polyline", "title"}
        assert any("<script>" in (each.text or "") for each in drawn.iter("title"))


def test_texts_in_a_page_stay_text() -> None:
    page = environment().from_string(
        '{% import "macros.html.jinja" as shown %}{{ shown.figures(figures) }}{{ shown.table(table) }}'
        "{{ shown.chart(chart) }}"
    )
    made = page.render(
        figures=[Figure(HOSTILE, HOSTILE, HOSTILE)],
        table=Table(HOSTILE, [Column(HOSTILE)], [[HOSTILE]], [HOSTILE]),
        chart=column_chart(HOSTILE, [HOSTILE], [Series(HOSTILE, [1.0]), Series("b", [2.0])]),
    )
    assert "<script" not in made
    assert made.count("&lt;script&gt;") > 8
    assert not {"\x00", "\u202e"} & set(made)


def test_the_policy_allows_the_texts_it_is_given_and_nothing_else() -> None:
    policy = content_security_policy(style_text(), scripts=[script_text()], form_action="'self'")
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    digest = base64.b64encode(hashlib.sha256(script_text().encode()).digest()).decode()
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == f"'sha256-{digest}'"
    assert directives["form-action"] == "'self'"
    assert "unsafe" not in policy
    assert content_security_policy().count("'none'") == 5
