"""From bytes to records: compression, JSON lines and values, CSV, Parquet."""
