"""Hosts configured by Ansible: `driver.py` is the driver, the other files its parts."""
