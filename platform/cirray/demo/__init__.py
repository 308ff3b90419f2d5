"""The demo catalog: small drawn garments in the FashionIQ layout, the same bytes for the same seed."""
