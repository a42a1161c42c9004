"""Netboot: what a machine boots, served over HTTP, TFTP and proxyDHCP; install tokens; the life of an installation."""
