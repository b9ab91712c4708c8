"""What holds for every test of the drop-in."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK calls the whole of ``client.beta`` deprecated, and here it is called on purpose."""
    for item in items:
        if HERE in item.path.parents:
            for text in ("The Assistants API is deprecated", "deprecated$"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{text}:DeprecationWarning"))
