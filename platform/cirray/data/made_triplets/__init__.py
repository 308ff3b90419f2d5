"""Training triplets made from a catalog: pairs of items with known differences, and captions that name them."""
