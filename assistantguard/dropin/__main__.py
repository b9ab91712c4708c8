"""``python -m assistantguard.dropin``: print what is served as Markdown; with ``differences`` the README's table."""

from __future__ import annotations

import sys

from assistantguard.dropin.page import differences, markdown

if __name__ == "__main__":
    page = differences() if sys.argv[1:] == ["differences"] else markdown()
    sys.stdout.buffer.write(page.encode())
