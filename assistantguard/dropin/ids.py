"""Ids of what the drop-in makes."""

from __future__ import annotations

import os

__all__ = ["new_id"]


def new_id(kind: str) -> str:
    """An id that nothing else has, such as ``msg_`` and 24 hexadecimal digits, as many as OpenAI's have.

    An HTTP library looks at each character of a URL several times: longer ones make each request dearer.

    Args:
        kind: What it begins with, without the underscore.
    """
    return f"{kind}_{os.urandom(12).hex()}"
