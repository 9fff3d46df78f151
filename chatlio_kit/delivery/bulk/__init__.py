"""The batch route: events as XDM files, in batches that can be reverted."""
