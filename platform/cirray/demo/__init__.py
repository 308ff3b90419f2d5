"""The demo catalog: synthetic garment pictures in the FashionIQ layout, deterministic for a seed."""
