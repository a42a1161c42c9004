"""What Octofleet remembers: records, observations, specifications, plans and the journal of runs. SQLAlchemy Core; SQLite now, PostgreSQL alike."""
