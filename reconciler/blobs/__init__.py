"""Where bytes are kept that belong beside the database: archived logs and artifacts, by name."""
