"""The search service on Ray Serve, and its web page."""
