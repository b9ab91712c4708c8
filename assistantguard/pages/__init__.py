"""HTML pages: templates that escape what they are given, charts as SVG, and a strict content security policy.

Nothing on a page comes from elsewhere. Charts are drawn here, so that they work without scripts, and every one stands
beside a table of its figures. It needs the `cli` or the `dashboard` extra (Jinja2).
"""

from __future__ import annotations

from assistantguard.pages.axes import Axis, compact, compact_dollars, nice_axis
from assistantguard.pages.charts import Chart, Mark, Series, column_chart, line_chart
from assistantguard.pages.rendering import (
    Column,
    Figure,
    Table,
    content_security_policy,
    environment,
    render,
    script_text,
    style_text,
)

__all__ = [
    "Axis",
    "Chart",
    "Column",
    "Figure",
    "Mark",
    "Series",
    "Table",
    "column_chart",
    "compact",
    "compact_dollars",
    "content_security_policy",
    "environment",
    "line_chart",
    "nice_axis",
    "render",
    "script_text",
    "style_text",
]
