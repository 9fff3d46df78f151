"""The bulk route: events as files of XDM, in batches that are completed, read back, and can be reverted."""
