"""What a process tells over HTTP: whether it works, whether it can serve, and its metrics."""
