"""Triplets, images and catalogs: records, readers, checks, filters."""
