"""The command `octofleet`."""
