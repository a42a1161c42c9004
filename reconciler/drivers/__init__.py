"""One file per system that Octofleet drives, all behind the one contract of `driver.py`."""
