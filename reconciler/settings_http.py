"""What is wrong with how the settings have HTTP served, though each value is of its type."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from reconciler.settings import Http
from reconciler.settings_checked import Problem

Networks = tuple[IPv4Network | IPv6Network, ...]


def networks(texts: Iterable[str]) -> Networks:
    """Addresses and networks, such as `10.0.0.5` and `fd00::/8`. Raises `ValueError`."""
    return tuple(ip_network(text) for text in texts)


def wrong_http(http: Http) -> Iterator[Problem]:
    """By place."""
    for name in ("tls_certificate", "tls_key"):
        path = getattr(http, name)
        if path and not Path(path).is_absolute():
            yield ("http", name), f"is {path}, and must be an absolute path"
        elif not path and (http.tls_certificate or http.tls_key):
            yield ("http", name), "is empty: a certificate and its key go together"
    for number, text in enumerate(http.trusted_proxies):
        try:
            networks([text])
        except ValueError as error:
            yield ("http", "trusted_proxies", number), f"is no address or network: {error}"
