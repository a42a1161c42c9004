"""Installer and boot files from plain values: values in, bytes out; no I/O, no clock, no randomness, no import from `reconciler`."""
