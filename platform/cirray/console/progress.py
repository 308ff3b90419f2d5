"""Live training progress: one line with loss, recall, throughput and ETA."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

REFRESH_S = 0.5
LOG_EVERY_S = 15.0


def format_line(state: dict[str, Any], label: str) -> str:
    """Formats a progress state: `stage 1   30 %  epoch 3/10  loss 1.234  best 55.10  820 triplets/s  ETA 0:42`."""
    done, total = state["step"], max(1, state["steps"])
    parts = [
        label,
        f"{100 * done // total:3d} %",
        f"epoch {state['epoch']}/{state['epochs']}",
        f"loss {state['loss']:.3f}",
    ]
    if state.get("best") is not None:
        parts.append(f"best {state['best']:.2f}")
    parts.append(f"{state['rate']:,.0f} {state['unit']}/s")
    parts.append(f"ETA {_minutes(state['eta_s'])}")
    return "  ".join(parts)


def _minutes(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


@contextmanager
def live_progress(read: Callable[[], dict[str, Any]], label: str) -> Iterator[None]:
    """Shows progress while the block runs: one line redrawn on a terminal, else a new line every `LOG_EVERY_S` seconds.

    Args:
        read: returns the latest state (see `format_line`), {} before the first one.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_draw, args=(read, label, sys.stderr, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _draw(read: Callable[[], dict[str, Any]], label: str, out: TextIO, stop: threading.Event) -> None:
    terminal = out.isatty()
    width, last = 0, time.monotonic()
    while not stop.wait(REFRESH_S):
        state = read()
        if not state:
            continue
        text = format_line(state, label)
        if terminal:
            out.write("\r" + text.ljust(width))
            width = len(text)
        elif time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            out.write(text + "\n")
        out.flush()
    if terminal and width:
        out.write("\r" + " " * width + "\r")
        out.flush()
