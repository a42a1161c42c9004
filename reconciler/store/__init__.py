"""What Octofleet remembers: records, observations, specifications, plans and the journal of runs. SQL as text on SQLite; Alembic migrates."""
