"""Tests of what stands between a plan and a machine."""
