"""Alerts: what is wrong at a moment, and what each receiver is to be told of it. Pure."""
