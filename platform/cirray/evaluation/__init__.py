"""Ranking, metrics and the reports made of them."""
