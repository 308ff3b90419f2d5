"""Command-line entry points, also for `ray job submit`: each parses its options and calls the library."""
