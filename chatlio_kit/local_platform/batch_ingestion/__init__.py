"""Batch ingestion: batches of uploaded files, and the landing of their rows."""
