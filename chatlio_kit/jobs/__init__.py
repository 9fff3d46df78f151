"""Jobs that need several rooms: opening a platform, backfill, forget, and the guided notebooks."""
