"""Ray: session, distributed worker, progress board, device choice."""
