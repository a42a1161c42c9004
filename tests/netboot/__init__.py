"""Machines that boot from the network: a laboratory of virtual ones, and tests with it."""
