"""Octofleet: from a Git commit to a converged fleet. See docs/flow.md for the life of one change."""
