"""From Arrow columns to validated event batches: times, ids, rules, contract."""
