"""deduplicate."""
