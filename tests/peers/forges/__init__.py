"""Doubles of forges: stateful servers on loopback, written from each forge's documented API, that also send webhooks as it does."""
