"""What a person at the terminal sees: progress bars with an ETA, and what happens now. All on stderr."""

from __future__ import annotations

import sys

from tqdm import tqdm

LOG_EVERY_S = 10.0


def say(text: str) -> None:
    """Tells the person at the terminal what happens now."""
    print(text, file=sys.stderr, flush=True)


def bar(total: int, label: str, unit: str) -> tqdm:
    """Opens a bar of `total` units; a context manager with `update`."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=f" {unit}",
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else LOG_EVERY_S,
        file=sys.stderr,
    )
