"""What a person at the terminal sees: log lines, progress bars, the live training line."""
