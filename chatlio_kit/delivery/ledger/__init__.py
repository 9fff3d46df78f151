"""The ledger: the fate of each event at each destination, in SQLite."""
