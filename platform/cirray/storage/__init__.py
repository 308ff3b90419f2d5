"""Files, folders and object stores: atomic writes, locations, archives, provenance."""
