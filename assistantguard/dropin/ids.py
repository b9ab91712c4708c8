"""Ids of what the drop-in makes."""

from __future__ import annotations

import os

__all__ = ["new_id"]


def new_id(kind: str) -> str:
    """An id that nothing else has, such as ``msg_`` and 32 hexadecimal digits.

    Args:
        kind: What it begins with, without the underscore.
    """
    return f"{kind}_{os.urandom(16).hex()}"
