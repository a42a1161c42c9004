"""Desired, recorded and observed in; an immutable plan out. Pure: no I/O, no clock."""
