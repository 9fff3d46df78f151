"""What needs several rooms: opening a platform, the backfill, forgetting one person, the guided notebooks."""
