"""Streaming ingestion, and how messages land."""
