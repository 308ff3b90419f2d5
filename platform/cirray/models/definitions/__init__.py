"""Model definitions of ours, in open_clip's own format (one JSON file each)."""
