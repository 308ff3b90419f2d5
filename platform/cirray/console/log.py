"""Log lines on stderr."""

from __future__ import annotations

import sys


def log(text: str) -> None:
    """Prints one line on stderr and flushes it."""
    print(text, file=sys.stderr, flush=True)
