"""Entry points for `ray job submit`: each parses, calls the library, and writes one JSON result."""
