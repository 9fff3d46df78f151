"""Catalog and Observability: datasets, batches, metrics."""
