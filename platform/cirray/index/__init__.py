"""The catalogue index: generations of embedded pictures in Qdrant, published atomically."""
