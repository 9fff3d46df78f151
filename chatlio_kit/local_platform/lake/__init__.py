"""The data lake: files, rows, Data Access, consolidation, erasure."""
