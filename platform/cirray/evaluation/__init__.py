"""Retrievers, metrics, evaluation, and reports of the results."""
