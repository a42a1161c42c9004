"""Forges: what they send, what they are told, and what stands between."""
