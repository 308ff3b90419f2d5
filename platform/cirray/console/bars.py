"""Progress bars with an ETA, on stderr."""

from __future__ import annotations

import sys

from tqdm import tqdm

LOG_EVERY_S = 10.0


def bar(total: int, label: str, unit: str) -> tqdm:
    """Opens a progress bar of `total` units. Use it as a context manager; `update()` advances it."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=f" {unit}",
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else LOG_EVERY_S,
        file=sys.stderr,
    )
