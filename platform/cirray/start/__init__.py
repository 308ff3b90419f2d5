"""From a product feed to a searchable catalog with one command."""
