"""Raw records to Arrow columns, or to the reason why not."""
