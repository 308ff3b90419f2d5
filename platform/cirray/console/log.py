"""Log lines for the person at the terminal, on stderr."""

from __future__ import annotations

import sys


def log(text: str) -> None:
    """Prints one line on stderr at once."""
    print(text, file=sys.stderr, flush=True)
