"""Forges: what they send, what they are asked."""
