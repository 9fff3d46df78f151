"""Batch ingestion: batches of uploaded files, and how their rows land."""
