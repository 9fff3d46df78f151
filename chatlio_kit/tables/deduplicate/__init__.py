"""Deduplicate events, and detect conflicting payloads."""
