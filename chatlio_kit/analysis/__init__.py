"""Metrics of the tables, and figures of the metrics."""
