"""Where captures are: files, folders, archives, buckets, URLs."""
