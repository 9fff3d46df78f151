"""Where captures come from: files, folders, archives, buckets, URLs."""
