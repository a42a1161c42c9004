"""`python -m reconciler.server.probe`: whether the process that these settings are of does its work, for a container that has no other program to ask with.

Exit code 0 if `/healthz` says so, or if the settings have nothing listen; otherwise 1.
"""

import http.client
import os
import ssl
import sys
from pathlib import Path

from reconciler.settings import load_settings
from reconciler.wiring import CONFIG, default_data_dir

WITHIN_S = 4.0


def healthy() -> bool:
    """Asks the loopback. The certificate is for others: it is not looked at."""
    said = os.environ.get("OCTOFLEET_CONFIG", "")
    settings = load_settings(Path(said) if said else default_data_dir() / CONFIG)
    host, _, port = settings.listen.rpartition(":")
    if not host:
        return True
    there = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - an address to compare with
    connection = http.client.HTTPConnection(there, int(port), timeout=WITHIN_S)
    if settings.http.tls_certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(there, int(port), timeout=WITHIN_S, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy() else 1)
