"""Who someone is, and what he may do."""
