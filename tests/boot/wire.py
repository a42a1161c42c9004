"""A provisioning network for tests: a network namespace with our proxyDHCP, HTTP and (by dnsmasq) TFTP on a bridge, a second one with the site's own DHCP
server (dnsmasq, which says nothing of booting), and taps for machines. Needs root; everything ends with the test.
"""

import asyncio
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from reconciler.boot.dhcp import Offered, ProxyDhcp
from tests.conftest import missing, program

SERVER, SITE, CLIENT, NETWORK = IPv4Address("10.77.0.1"), "10.77.0.2", "10.77.0.50", IPv4Network("10.77.0.0/24")
URL = f"http://{SERVER}:8069"
T = TypeVar("T")
LIMIT_S = 240.0


def until(what: str, asked: Callable[[], T | None], limit_s: float = LIMIT_S) -> T:
    """The first true answer."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := asked():
            return found
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


@dataclass
class Wire:
    """`scripts` are given to iPXE one by one, and then one that does nothing; `asked` holds what HTTP was asked for; `site_log` and `tftp_log` what
    dnsmasq says."""

    name: str
    directory: Path
    files: Mapping[str, bytes]
    scripts: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def clients(self) -> str:
        """The namespace of clients: its `client` is on the bridge, as 10.77.0.50; its `other` is linked to our machine, but not to the bridge."""
        return f"{self.name}c"

    @property
    def site_log(self) -> str:
        return (self.directory / "site.log").read_text(errors="replace")

    @property
    def tftp_log(self) -> str:
        return (self.directory / "tftp.log").read_text(errors="replace")

    def inside(self, work: Callable[[], T], *, namespace: str = "") -> "Future[T]":
        """`work` in a thread of its own whose sockets belong to the namespace."""
        return ThreadPoolExecutor(1, initializer=enter, initargs=(namespace or self.name,)).submit(work)

    def child(self, log: str, *words: str, namespace: str = "") -> subprocess.Popen[bytes]:
        with (self.directory / log).open("wb") as out:
            started = subprocess.Popen(["ip", "netns", "exec", namespace or self.name, *words], stdout=out, stderr=out)
        self.children.append(started)
        return started

    @contextmanager
    def proxy(self, answers_per_s: int = 1000, **offered: Any) -> Iterator[ProxyDhcp]:
        """Our proxyDHCP, on a loop in a thread of its own."""
        told: dict[str, Any] = {"server": SERVER, "url": URL, "loaders": frozenset(self.files)} | offered
        proxy, begun, end = ProxyDhcp(Offered(**told), [NETWORK], answers_per_s=answers_per_s), threading.Event(), threading.Event()

        async def serve() -> None:
            await proxy.start()
            begun.set()
            while not end.is_set():
                await asyncio.sleep(0.05)
            await proxy.close()

        served = self.inside(lambda: asyncio.run(serve()))
        until("the proxyDHCP listens", lambda: begun.is_set() or served.done(), 30)
        if served.done():
            served.result()
        try:
            yield proxy
        finally:
            end.set()
            served.result(30)

    def machine(self, *words: str) -> subprocess.Popen[bytes]:
        """A machine (QEMU without KVM) that is switched on, with its console in `serial.log`."""
        if not Path("/usr/lib/ipxe/qemu/pxe-virtio.rom").exists():
            missing("the ROMs of QEMU's cards", "apt-get install ipxe-qemu")
        serial = self.directory / "serial.log"
        network = ("-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no")
        plain = ("-accel", "tcg", "-cpu", "qemu64", "-m", "512", "-nodefaults", "-display", "none", "-vga", "none", "-no-reboot")
        return self.child(
            "qemu.log", program("qemu-system-x86_64", "qemu-system-x86"), *plain, *network, "-serial", f"file:{serial}", *words
        )


def enter(name: str) -> None:
    """Moves this thread into a network namespace (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{name}").open("rb") as opened:
        if libc.setns(opened.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def wire(directory: Path, files: Mapping[str, bytes], *, site: Sequence[str] = ()) -> Iterator[Wire]:
    """The network; `files` are served by TFTP under their names, and by HTTP as loaders. `site` is said to the site's DHCP server too."""
    if os.geteuid() != 0:
        missing("root, for network namespaces", "sudo")
    program("ip", "iproute2")
    dnsmasq = program("dnsmasq", "dnsmasq-base")
    name = f"octo{os.getpid()}"
    beside = f"{name}s"
    made = Wire(name=name, directory=directory, files=files)
    tftp = directory / "tftp"
    for path, data in files.items():
        (tftp / path).parent.mkdir(parents=True, exist_ok=True)
        (tftp / path).write_bytes(data)
    tftp.mkdir(exist_ok=True)
    namespaces: list[str] = []
    try:
        for one in (name, beside, made.clients):
            try:
                run("ip", "netns", "add", one)
            except subprocess.CalledProcessError as error:
                missing(f"network namespaces ({error.stderr.decode().strip()})", "a kernel and a container that allow them")
            namespaces.append(one)
        _links(name, beside, made.clients)
        quiet = ("-k", "-C", "/dev/null", "--port=0", "--log-facility=-", "--user=root", "--bind-interfaces", "--pid-file=")
        ranges = (
            "--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,10m",
            "--dhcp-range=fd77::,ra-stateless,64,10m",
            "--enable-ra",
            "--no-ping",
        )
        lease = f"--dhcp-leasefile={directory}/leases"
        made.child("site.log", dnsmasq, *quiet, "--log-dhcp", "--interface=site", *ranges, lease, *site, namespace=beside)
        made.child("tftp.log", dnsmasq, *quiet, "--interface=br0", "--enable-tftp", f"--tftp-root={tftp}")
        with _http(made):
            yield made
    finally:
        for child in made.children:
            child.kill()
            child.wait(30)
        for one in namespaces:
            run("ip", "netns", "del", one)


def _links(name: str, site: str, clients: str) -> None:
    ours = ("ip", "-n", name)
    run(*ours, "link", "set", "lo", "up")
    run(*ours, "link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0")
    run(*ours, "address", "add", f"{SERVER}/24", "dev", "br0")
    run(*ours, "link", "set", "br0", "up")
    run(*ours, "tuntap", "add", "tap0", "mode", "tap")
    for link, namespace in (("site", site), ("client", clients), ("other", clients)):
        run(*ours, "link", "add", f"to-{link}", "type", "veth", "peer", "name", link, "netns", namespace)
        run(*ours, "link", "set", f"to-{link}", "up")
        run("ip", "-n", namespace, "link", "set", link, "up")
    for port in ("to-site", "to-client", "tap0"):
        run(*ours, "link", "set", port, "master", "br0", "up")
    run("ip", "-n", site, "address", "add", f"{SITE}/24", "dev", "site")
    run("ip", "-n", site, "address", "add", "fd77::2/64", "dev", "site", "nodad")
    run("ip", "-n", clients, "address", "add", f"{CLIENT}/24", "dev", "client")


@contextmanager
def _http(made: Wire) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(f"{self.command} {self.path}")
            script = made.scripts.pop(0) if made.scripts and self.path.startswith("/boot/ipxe?") else b"exit"
            body = made.files.get(self.path.removeprefix("/boot/loader/"), b"#!ipxe\n" + script + b"\n")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = made.inside(lambda: ThreadingHTTPServer((str(SERVER), 8069), Handler)).result(30)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
