"""What is wrong with how the settings have machines booted, though each value is of its type; and where machines reach us."""

import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.settings import Boot
from reconciler.settings_checked import Problem
from reconciler.settings_http import networks

ANY = ("0.0.0.0", "[::]", "::", "")  # noqa: S104 - compared with
PATHS = ("directory", "media", "loaders", "tls_certificate", "tls_key", "ca_file", "bmc_ca_file")


def listened(text: str) -> tuple[str, int] | None:
    """Host, without brackets, and port of a HOST:PORT, or None."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() and int(port) < 65_536 else None


def reached(scheme: str, listen: str, url: str) -> str:
    """Where machines reach a listener, without a slash at the end."""
    return (url or f"{scheme}://{listen}").rstrip("/")


def wrong_boot(boot: Boot) -> Iterator[Problem]:
    """By place."""
    for name in PATHS:
        if (path := getattr(boot, name)) and not Path(path).is_absolute():
            yield ("boot", name), f"is {path}, and must be an absolute path"
    yield from _wrong_listeners(boot)
    if boot.listen and not boot.networks:
        yield ("boot", "networks"), 'is empty: name the provisioning networks, such as ["10.0.0.0/24"]; nobody else is answered'
    for number, text in enumerate(boot.networks):
        try:
            networks([text])
        except ValueError as error:
            yield ("boot", "networks", number), f"is no address or network: {error}"


def _wrong_listeners(boot: Boot) -> Iterator[Problem]:
    for name in ("listen", "tls_listen", "tftp"):
        if (text := getattr(boot, name)) and listened(text) is None:
            yield ("boot", name), f"is {text!r}: write it as HOST:PORT, such as 10.0.0.5:8069"
    for name, url, scheme in (("listen", "url", "http"), ("tls_listen", "tls_url", "https")):
        said, text = getattr(boot, url), getattr(boot, name)
        if text and not said and text.rpartition(":")[0] in ANY:
            example = f"{scheme}://boot.example.net:{text.rpartition(':')[2]}"
            yield ("boot", url), f"is empty, and {name} is {text}: say how machines reach it, such as {example}"
        if said and not said.startswith(f"{scheme}://"):
            yield ("boot", url), f"is {said!r}, and must begin with {scheme}://"
    if boot.tls_listen and not (boot.tls_certificate and boot.tls_key):
        yield ("boot", "tls_listen"), "needs boot.tls_certificate and boot.tls_key"
    if boot.dhcp and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", boot.dhcp):
        yield ("boot", "dhcp"), f"is {boot.dhcp!r}: write this machine's IPv4 address on the provisioning network"
    for name in ("tls_listen", "tftp", "dhcp"):
        if getattr(boot, name) and not boot.listen:
            yield ("boot", name), "is set, and boot.listen is not: machines get their scripts there"
