"""Switching machines: Redfish and wake-on-LAN."""
