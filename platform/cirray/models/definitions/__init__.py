"""Model definitions that open_clip lacks, one JSON file each in open_clip's format."""
