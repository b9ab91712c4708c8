"""``python -m assistantguard.dropin``: print what is served; ``boundary``, ``differences``: tables of the README."""

from __future__ import annotations

import sys

from assistantguard.dropin.page import boundary, differences, markdown

if __name__ == "__main__":
    print_one = {"boundary": boundary, "differences": differences}.get(" ".join(sys.argv[1:]), markdown)
    sys.stdout.buffer.write(print_one().encode())
