"""The boot server of a process: what the settings `[boot]` say, put together, from its first question to its last."""

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reconciler.boot.asked import Asked
from reconciler.boot.decision import Decision
from reconciler.boot.files import Bases
from reconciler.boot.media import Media
from reconciler.boot.server import BootServer
from reconciler.boot.web import Web
from reconciler.errors import OctofleetError
from reconciler.server.app import Terms, listening
from reconciler.server.terms import Limits
from reconciler.server.tls import certificate
from reconciler.settings_boot import listened, reached
from reconciler.settings_http import networks
from reconciler.wiring import Installation
from renderers.ipxe_menu import local_boot

LIMITS = Limits(connections=8192, of_client=256, idle_s=15.0)


@contextmanager
def booting(installation: Installation) -> Iterator[list[str]]:
    """While it is open, machines are served; gives where, for people. Nothing where the settings serve no boot. Raises `OctofleetError`."""
    boot = installation.settings.boot
    if not boot.served:
        yield []
        return
    bases = Bases(
        plain=reached("http", boot.listen, boot.url),
        installers=reached("https", boot.tls_listen, boot.tls_url) if boot.tls_listen else reached("http", boot.listen, boot.url),
        ca=bool(boot.tls_listen and boot.ca_file),
    )
    wiring = installation.apart()
    server = BootServer(wiring, bases)
    media = Media(Path(boot.media) if boot.media else None, _files_of(boot.ca_file))
    allowed = networks(boot.networks)
    with ExitStack() as stack:
        stack.callback(wiring.close)
        server.start()
        stack.callback(server.close)
        said = []
        for name, text in (("http", boot.listen), ("https", boot.tls_listen)):
            if not text:
                continue
            place = listened(text) or ("", 0)
            shown = certificate((boot.tls_certificate, boot.tls_key)) if name == "https" else None
            web = Web(server, media, allowed, secure=name == "https", menu=_menu)
            port = stack.enter_context(listening(web.app(), *place, Terms(limits=LIMITS, certificate=shown)))
            said.append(f"{name}://{text.rpartition(':')[0]}:{port}")
        yield said


def _files_of(ca_file: str) -> dict[str, bytes]:
    """The CA as an initial ram disk: a gzipped cpio archive, which may follow another one at any byte."""
    if not ca_file:
        return {}
    try:
        pem = Path(ca_file).read_bytes()
    except OSError as error:
        raise OctofleetError(
            f"cannot read boot.ca_file {ca_file}: {error.strerror}", hint="correct it, or the file's mode", code="tls"
        ) from error
    return {"ca.crt": pem, "ca.gz": gzip.compress(archive(dict.fromkeys(TRUSTED, pem)), mtime=0)}


TRUSTED = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem")
"""Where installers look for what they trust: Debian's and Ubuntu's, Anaconda's, SUSE's."""


def archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive (newc: Linux, Documentation/driver-api/early-userspace/buffer-format.rst) of these files and their directories."""
    folders = sorted({"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)})
    entries = [(name, 0o040755, b"") for name in folders] + [(name, 0o100644, data) for name, data in sorted(files.items())]
    made = b"".join(_entry(name, mode, data, number) for number, (name, mode, data) in enumerate(entries, 1))
    return made + _entry("TRAILER!!!", 0, b"", 0)


def _entry(name: str, mode: int, data: bytes, number: int) -> bytes:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 2 if mode & 0o040000 else 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _menu(found: Decision, who: Asked) -> bytes:
    del found
    return local_boot(who.firmware)
