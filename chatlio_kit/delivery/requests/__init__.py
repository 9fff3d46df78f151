"""From event batches to acknowledged requests: wire records, packing, pacing, posting, responses."""
