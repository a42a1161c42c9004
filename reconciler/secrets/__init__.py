"""Secrets: values from the stores that the server's settings grant to a tenant, their keyed digests, and redaction."""
