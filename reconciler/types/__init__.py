"""Frozen values that the whole of Octofleet passes around. No I/O, no imports from other packages of Octofleet."""
