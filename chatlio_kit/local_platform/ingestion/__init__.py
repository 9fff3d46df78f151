"""Streaming ingestion, and the landing of messages."""
