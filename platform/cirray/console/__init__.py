"""Terminal output: log lines, progress bars, live training progress."""
