"""A provisioning network on this machine: a bridge in a network namespace, on which virtual machines are switched on.

The server under test is at `SERVER` in it. The site's DHCP server runs there too, or in a namespace of its own at `SITE` when the
server under test brings a proxyDHCP. What the lab starts ends with it, and with this process at the latest.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.conftest import program
from tests.ha.kept import Kept, until
from tests.netboot import site_dhcp
from tests.netboot.machine import Firmware, Machine
from tests.netboot.namespace import Namespace
from tests.netboot.site_dhcp import SERVER, SITE

BRIDGE = "br0"


class Lab:
    """A context manager. Its files, logs among them, are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._exit = ExitStack()
        self._taps = 0

    def __enter__(self) -> Self:
        program("qemu-system-x86_64", "qemu-system-x86")
        program("dnsmasq", "dnsmasq-base")
        self.inside = Namespace()
        self._exit.callback(self.inside.close)
        self.inside.ip(
            f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0",
            f"address add {SERVER}/24 dev {BRIDGE}",
            f"address add fd77::1/64 dev {BRIDGE} nodad",
            f"link set {BRIDGE} up",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, where: Namespace | None = None) -> Kept:
        """A process on the network that ends with the lab; its log is `NAME.log`."""
        with (where or self.inside).entered():
            kept = Kept(command, cwd=self.directory, log=self.directory / f"{name}.log", env=os.environ if env is None else env)
        self._exit.callback(kept.kill)
        return kept

    def listen(self, port: int) -> socket.socket:
        """A socket that listens at the server's address."""
        with self.inside.entered():
            return socket.create_server((SERVER, port))

    def give_boot_files(self, *more: str, **boot: str | Path | None) -> None:
        """DHCP that also says what to boot; see `site_dhcp.boot_files`. `more`: further lines of dnsmasq's configuration."""
        lines = site_dhcp.addresses(BRIDGE, self.directory / "leases") + site_dhcp.boot_files(**boot)  # type: ignore[arg-type]
        self._dhcp([*lines, *more], self.inside)

    def give_addresses(self) -> None:
        """DHCP as a site has it, elsewhere on the network: addresses, and nothing about booting."""
        site = Namespace()
        self._exit.callback(site.close)
        self.inside.ip(f"link add site type veth peer name uplink netns {site.path}", f"link set site master {BRIDGE} up")
        site.ip(f"address add {SITE}/24 dev uplink", "address add fd77::2/64 dev uplink nodad", "link set uplink up")
        self._dhcp(site_dhcp.addresses("uplink", self.directory / "leases"), site)

    def _dhcp(self, lines: Iterable[str], where: Namespace) -> None:
        config = self.directory / "dnsmasq.conf"
        config.write_text("\n".join(lines) + "\n")
        kept = self.start("dnsmasq", ["dnsmasq", "--keep-in-foreground", f"--conf-file={config}", "--user=root"], where=where)
        until(lambda: "DHCP, sockets bound" in kept.tail() or not kept.alive, "the site's DHCP", within_s=30)
        assert kept.alive, kept.tail()

    def machine(self, firmware: Firmware, **parts: object) -> Machine:
        """A machine on the network, switched on; see `Machine`."""
        self._taps += 1
        tap = f"tap{self._taps}"
        self.inside.ip(f"tuntap add {tap} mode tap", f"link set {tap} master {BRIDGE} up")
        made = Machine(firmware=firmware, where=self.inside, tap=tap, directory=self.directory, number=self._taps, **parts)  # type: ignore[arg-type]
        self._exit.callback(made.kill)
        made.switch_on()
        return made
