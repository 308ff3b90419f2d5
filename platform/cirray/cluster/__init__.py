"""Ray: the session, the distributed worker, the device."""
