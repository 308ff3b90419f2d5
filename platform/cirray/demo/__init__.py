"""The demo catalogue: small drawn garments in the FashionIQ layout, the same bytes for the same seed."""
