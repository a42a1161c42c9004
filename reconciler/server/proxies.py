"""Who is at the other end when there are proxies between: the address that counts for limits and the audit trail, and whether it came by TLS.

`X-Forwarded-For` and `-Proto` are believed only of proxies that the setting `http.trusted_proxies` names; anybody else could write what he likes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from aiohttp import web

from reconciler.settings_http import Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """`address` as text without a port; `https`: whether what it sent was encrypted on its way to us or to our outermost proxy that says so."""

    address: str
    https: bool


def plain(text: str) -> str:
    """An address as it is compared: without zone, and IPv4 as such where it came in through an IPv6 socket. Raises `ValueError`."""
    found = ip_address(text.strip().partition("%")[0])
    return str(found.ipv4_mapped if isinstance(found, IPv6Address) and found.ipv4_mapped else found)


def is_trusted(address: str, trusted: Networks) -> bool:
    """Whether this address, as `plain` gives it, is one of our proxies."""
    return bool(trusted) and bool(address) and any(ip_address(address) in network for network in trusted)


def seen(peer: str, trusted: Networks, *, tls: bool, forwarded_for: Sequence[str] = (), proto: Sequence[str] = ()) -> Client:
    """Who is behind a connection. Walks `X-Forwarded-For` from the right, past our own proxies, to the first address that is none of them; what is no
    address ends the walk at the last one that was."""
    if not is_trusted(peer, trusted):
        return Client(address=peer, https=tls)
    address = peer
    for hop in reversed(",".join(forwarded_for).split(",")):
        try:
            address = plain(_without_port(hop))
        except ValueError:
            break
        if not is_trusted(address, trusted):
            break
    said = ",".join(proto).rpartition(",")[2].strip().lower()
    return Client(address=address, https=said == "https" if said else tls)


def _without_port(hop: str) -> str:
    """Some proxies write the port too: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    text = hop.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def client_address(request: web.BaseRequest) -> str:
    """The address of whoever asks; empty if it is not known."""
    found = getattr(request.protocol, "client", None)
    return found.address if isinstance(found, Client) else request.remote or ""


def is_https(request: web.BaseRequest) -> bool:
    """Whether whoever asks has an encrypted connection, to us or to a trusted proxy."""
    found = getattr(request.protocol, "client", None)
    return found.https if isinstance(found, Client) else request.secure
