"""Sources of captures: files, folders, archives, buckets, URLs."""
