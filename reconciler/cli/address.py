"""Where somebody opens the server: what a link begins with. Between processes of one data directory it is handed on in a file there."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.files import replace_file
from reconciler.settings import Settings

NOTED = "address"
"""The file of the data directory that says where a server there listens, while it does."""


def begins(settings: Settings, listening: str) -> tuple[str, str]:
    """What a link begins with, empty if that is not known, and what is to be said beside it: where people reach the server if the settings say so, else where
    it listens (`http://HOST:PORT`)."""
    public = next((forge.public_url for forge in settings.forges if forge.public_url), "")
    return (public.rstrip("/"), "") if public else opened_at(listening)


def opened_at(listening: str) -> tuple[str, str]:
    """A listening address as somebody can open it, and a remark: nobody can open `0.0.0.0`, and over plain HTTP nobody signs in but on the machine itself."""
    parts = urlsplit(listening)
    try:
        everywhere, six = ip_address(parts.hostname or "").is_unspecified, ":" in (parts.hostname or "")
    except ValueError:
        return listening, ""
    if not everywhere:
        return listening, ""
    if parts.scheme == "https":
        return f"https://{socket.getfqdn()}:{parts.port}", "if the certificate is for another name of this machine, put that into the link"
    return f"http://{'[::1]' if six else '127.0.0.1'}:{parts.port}", "the link is for a browser on this machine"


@contextmanager
def noted(data_dir: Path, listening: str) -> Iterator[None]:
    """While the block lasts, other processes find this address with `note`."""
    path = data_dir / NOTED
    replace_file(path, listening.encode())
    try:
        yield
    finally:
        if note(data_dir) == listening:
            path.unlink(missing_ok=True)


def note(data_dir: Path) -> str:
    """Where a server of this data directory listens; empty if none does."""
    try:
        return (data_dir / NOTED).read_text(errors="replace").strip()
    except OSError:
        return ""


def said(settings: Settings) -> str:
    """Where a server would listen by the settings; empty if they do not say."""
    return f"{'https' if settings.http.tls_certificate else 'http'}://{settings.listen}" if settings.listen else ""
