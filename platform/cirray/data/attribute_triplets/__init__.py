"""Triplets from a catalog's attributes: two items that differ in known attributes, and a sentence that names it."""
