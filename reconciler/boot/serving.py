"""The boot server of a process: what the settings `[boot]` say, put together, from its first question to its last.

HTTP and HTTPS have an event loop each, as people's pages have; TFTP and proxyDHCP share one.
"""

import asyncio
import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from threading import Event, Thread

from reconciler.boot.cpio import archive
from reconciler.boot.dhcp import Offered, ProxyDhcp
from reconciler.boot.discovery import Discovery
from reconciler.boot.files import Bases
from reconciler.boot.loaders import read_loaders
from reconciler.boot.media import Media
from reconciler.boot.menus import Menus
from reconciler.boot.server import BootServer
from reconciler.boot.tftp import TftpServer
from reconciler.boot.tftp_limits import TftpLimits
from reconciler.boot.tree import Tree
from reconciler.boot.web import Web
from reconciler.errors import OctofleetError
from reconciler.plugins import pull_opener
from reconciler.server.app import Terms, listening
from reconciler.server.terms import Limits
from reconciler.server.tls import certificate
from reconciler.settings import Boot
from reconciler.settings_boot import listened, reached
from reconciler.settings_http import networks
from reconciler.stages import count
from reconciler.wiring import Installation

REFRESH_S = 2.0
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
    loaders = read_loaders(Path(boot.loaders) if boot.loaders else None).files
    media = Media(Path(boot.media) if boot.media else None, {**loaders, **_files_of(boot.ca_file)})
    allowed = networks(boot.networks)
    with ExitStack() as stack:
        stack.callback(wiring.close)
        server.start()
        stack.callback(server.close)
        discovery = Discovery(stack.enter_context(closing(installation.apart())), server.picture, pull_opener(installation))
        discovery.start()
        stack.callback(discovery.close)
        menus = Menus(server.picture, discovery, bases.plain)
        said = []
        for name, text in (("http", boot.listen), ("https", boot.tls_listen)):
            if not text:
                continue
            place = listened(text) or ("", 0)
            shown = certificate((boot.tls_certificate, boot.tls_key)) if name == "https" else None
            web = Web(server, media, allowed, menus, secure=name == "https")
            port = stack.enter_context(listening(web.app(), *place, Terms(limits=LIMITS, certificate=shown)))
            said.append(f"{name}://{text.rpartition(':')[0]}:{port}")
        if boot.tftp or boot.dhcp:
            plain = Web(server, media, allowed, menus, secure=False)
            said += stack.enter_context(_Datagrams(boot, server, Tree(media, plain.grub, bases.plain), bases.plain, loaders))
        yield said


class _Datagrams:
    """TFTP and proxyDHCP, in a thread with an event loop of its own, while the block lasts."""

    def __init__(self, boot: Boot, server: BootServer, tree: Tree, url: str, loaders: Mapping[str, bytes]) -> None:
        self._boot, self._server, self._tree, self._url, self._loaders = boot, server, tree, url, loaders
        self._began, self._said = Event(), list[str]()
        self._error: OctofleetError | None = None
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), name="boot-datagrams", daemon=True)

    def __enter__(self) -> list[str]:
        self._thread.start()
        self._began.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self._said

    def __exit__(self, *ended: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        allowed = networks(self._boot.networks)
        tftp = TftpServer(self._tree.find, allowed, TftpLimits()) if self._boot.tftp else None
        only4 = [network for network in allowed if isinstance(network, IPv4Network)]
        dhcp = ProxyDhcp(self._offered(), only4) if self._boot.dhcp else None
        try:
            if tftp is not None:
                host, port = listened(self._boot.tftp) or ("", 0)
                self._said.append(f"tftp://{host}:{await tftp.start(host, port)}")
            if dhcp is not None:
                await dhcp.start()
                self._said.append(f"proxyDHCP at {self._boot.dhcp}")
        except OctofleetError as error:
            self._error = error
            self._end.set()
        self._began.set()
        told = Counter[str]()
        while not self._end.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), REFRESH_S)
            if dhcp is not None:
                dhcp.offered = self._offered()
            told = _tell(told, tftp, dhcp)
        for one in (tftp, dhcp):
            if one is not None:
                await one.close()

    def _offered(self) -> Offered:
        """Which machines have Secure Boot follows from what was applied last."""
        secure = {
            key[4:]: one.distribution
            for key, one in list(self._server.picture.machines.items())
            if one.secure_boot and key.startswith("mac:")
        }
        return Offered(server=IPv4Address(self._boot.dhcp), url=self._url, loaders=frozenset(self._loaders), secure_boot=secure)


def _tell(told: Counter[str], tftp: TftpServer | None, dhcp: ProxyDhcp | None) -> Counter[str]:
    """Count what has come since: `told` were counted before."""
    now = Counter[str]()
    if tftp is not None:
        now.update({f"tftp_{name}": number for name, number in asdict(tftp.counters).items()})
    if dhcp is not None:
        now.update({f"dhcp_{result.value}": number for result, number in dhcp.counts.items()})
    for what, number in (now - told).items():
        count(what, number)
    return now


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


TRUSTED = ("usr/lib/ssl/cert.pem", "etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem")
"""Where installers look for what they trust: Debian's, Ubuntu's, Anaconda's, SUSE's."""
