"""Measurements: `make bench`. Each row is a ratio to a floor measured in the same run; the results are written, never asserted."""
