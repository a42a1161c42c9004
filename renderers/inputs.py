"""Typed, frozen views of one host's `values` that all formats share: who it is, its language, network, users, and what installs it.

In: `values` (docs/decisions/0001-manifest-fields.md, "What a host resolves to"). Out: dataclasses with defaults filled and every field
checked for what no format can carry. Must not know any format's syntax. Disks are in disks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import Any

from renderers import escape
from renderers.contract import RenderError, Text
from renderers.reader import Node

RHEL_FAMILY = frozenset({"rhel", "rocky", "almalinux", "centos-stream", "fedora"})
SUSE_FAMILY = frozenset({"opensuse-leap", "sles"})
UNLIKE_LINUX = frozenset({"windows", "esxi"})
CODENAMES = {
    "debian": {"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"},
    "ubuntu": {"20.04": "focal", "22.04": "jammy", "24.04": "noble", "24.10": "oracular", "25.04": "plucky", "25.10": "questing"},
}
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LOGIN = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"
_DNS_NAME = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_ADDRESS_OR_NAME = r"[A-Za-z0-9:]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9:])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Who a host is and which system it runs."""

    name: Text
    tenant: Text
    fqdn: Text
    distribution: Text
    version: Text | None
    architecture: Text

    @property
    def domain(self) -> str:
        """The part of the FQDN after the host's name; may be empty."""
        return self.fqdn.removeprefix(self.name).lstrip(".")

    @property
    def rhel_like(self) -> bool:
        """Whether Anaconda installs it."""
        return self.distribution in RHEL_FAMILY

    @property
    def major(self) -> int:
        """The first number of the version."""
        if self.version is None:
            raise RenderError("/os/version", "missing: set the version, such as 9 or 9.4")
        return int(self.version.split(".")[0])

    @property
    def codename(self) -> str:
        """The name that Debian's and Ubuntu's archives use for the version."""
        known = CODENAMES[self.distribution]
        version = self.version or ""
        found = known.get(version) or known.get(
            version.split(".")[0] if self.distribution == "debian" else ".".join(version.split(".")[:2])
        )
        if found is None:
            choices = ", ".join(known)
            raise RenderError("/os/version", f"no code name known for {self.distribution} {version or '(none)'}: set one of {choices}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Language, keyboard and clock."""

    locale: Text
    timezone: Text
    layout: Text
    variant: Text | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface; several with one MAC are VLANs of the first. `device` carries the address, `link` is the Ethernet device."""

    name: Text
    link: str
    mac: str | None  # lower case, colons
    vlan: int | None
    address: IPv4Interface | IPv6Interface | None
    dhcp4: bool
    gateway: IPv4Address | IPv6Address | None  # only of the primary interface, or there would be two default routes
    nameservers: tuple[Text, ...]
    search: tuple[Text, ...]
    mtu: int | None
    primary: bool
    pointer: str

    @property
    def device(self) -> str:
        """The name of the device with the address."""
        return f"{self.link}.{self.vlan}" if self.vlan is not None else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One account. `locked` holds unless a hash is given and not locked by `lock_passwd`."""

    name: Text
    gecos: Text | None
    uid: int | None
    groups: tuple[Text, ...]
    shell: Text
    sudo: tuple[Text, ...]
    keys: tuple[Text, ...]
    hash: Text | None
    locked: bool
    system: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Where the installer comes from and whom it tells."""

    source: Text | None
    kernel: Text | None
    initrd: Text | None
    image: Text | None
    callback: Text | None
    accepted: bool  # the licence of what is installed, by a person
    generation: int


def machine(values: Mapping[str, Any]) -> Machine:
    """The host's identity; RenderError where `name`, `tenant` or `os` is missing or is no name."""
    root = Node(values)
    name = root["name"].text(_LABEL, "a DNS label")
    return Machine(
        name=name,
        tenant=root["tenant"].text(_LABEL, "a DNS label"),
        fqdn=root["fqdn"].text(_DNS_NAME, "a DNS name", default=name),
        distribution=root["os"]["distribution"].text(
            "|".join(sorted(RHEL_FAMILY | SUSE_FAMILY | UNLIKE_LINUX | set(CODENAMES))),
            "a known distribution",
            why="say which system the host runs",
        ),
        version=root["os"]["version"].maybe(r"[1-9][0-9]{0,3}(\.[0-9]{1,4}){0,2}", "a version number such as 12 or 9.4"),
        architecture=root["os"]["architecture"].text("x86_64|aarch64", "x86_64 or aarch64", default="x86_64"),
    )


def region(values: Mapping[str, Any]) -> Region:
    """Locale, time zone and keyboard, with en_US.UTF-8, Etc/UTC and us where nothing is said."""
    root = Node(values)
    return Region(
        locale=root["locale"].text(r"[A-Za-z0-9_.@-]+", "a locale such as en_GB.UTF-8", default="en_US.UTF-8"),
        timezone=root["timezone"].text(r"[A-Za-z0-9_+/-]+", "a time zone such as Europe/Berlin", default="Etc/UTC"),
        layout=root["keyboard"]["layout"].text(r"[A-Za-z0-9_,-]+", "a keyboard layout such as de", default="us"),
        variant=root["keyboard"]["variant"].maybe(r"[A-Za-z0-9_,-]*", "a keyboard variant such as nodeadkeys") or None,
    )


def interfaces(values: Mapping[str, Any]) -> tuple[Interface, ...]:
    """The interfaces, the primary one first, then in the order given; RenderError for what no installer could set up."""
    nodes = list(Node(values)["interfaces"].items())
    chosen = [index for index, node in enumerate(nodes) if node["primary"].flag(False)] or [0]
    if len(chosen) > 1:
        raise RenderError(f"/interfaces/{chosen[1]}/primary", "only one interface can be the primary one")
    links: dict[str, str] = {}
    made = [_interface(node, index == chosen[0], links) for index, node in enumerate(nodes)]
    for index, item in enumerate(made):
        if item.device in {other.device for other in made[:index]}:
            raise RenderError(f"{item.pointer}/name", f"two interfaces would be the device {item.device}: rename one")
    return tuple(sorted((_fit_mtu(item, made) for item in made), key=lambda item: not item.primary))


def _fit_mtu(nic: Interface, nics: list[Interface]) -> Interface:
    """A link carries what its VLANs carry: its MTU is at least the largest of theirs."""
    largest = max((other.mtu or 0 for other in nics if other.vlan is not None and other.link == nic.name), default=0)
    return replace(nic, mtu=largest) if nic.vlan is None and largest > (nic.mtu or 1500) else nic


def _interface(node: Node, primary: bool, links: dict[str, str]) -> Interface:
    name = node["name"].text(r"[A-Za-z][A-Za-z0-9_-]{0,14}", "the name of a network interface (15 letters, digits, _ or -)")
    mac = node["mac"].maybe(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", "a MAC address such as 52:54:00:12:34:56")
    plain_mac = mac.lower().replace("-", ":") if mac else None
    vlan = node["vlan"].number(1, 4094)
    link = links.setdefault(plain_mac, name) if plain_mac else name
    if link != name and vlan is None:
        raise RenderError(f"{node.pointer}/mac", f"the interface {link} has this MAC address too: only its VLANs may share it")
    address = _address(node)
    gateway = node["gateway"].maybe()
    dhcp4 = node["dhcp4"].flag(None)
    made = Interface(
        name=name,
        link=link,
        mac=plain_mac,
        vlan=vlan,
        address=address,
        dhcp4=address is None if dhcp4 is None else dhcp4,
        gateway=_ip(gateway) if gateway and primary and address else None,
        nameservers=tuple(Text(str(_ip(server)), server.pointer) for server in node["nameservers"].texts()),
        search=node["search"].texts(_DNS_NAME, "a DNS domain"),
        mtu=node["mtu"].number(68, 65535),
        primary=primary,
        pointer=node.pointer,
    )
    if len(made.device) > 15:
        raise RenderError(f"{node.pointer}/name", f"the device {made.device} would have more than 15 characters: shorten the name")
    return made


def _ip(text: Text) -> IPv4Address | IPv6Address:
    try:
        return ip_address(str(text))
    except ValueError:
        raise RenderError(text.pointer, f"{str(text)!r} is not an IP address") from None


def _address(node: Node) -> IPv4Interface | IPv6Interface | None:
    address = node["address"].maybe()
    if address is None:
        return None
    prefix = node["prefix"].number(0, 128)
    if prefix is None:
        raise RenderError(f"{node.pointer}/network", "missing: an address needs a network, whose cidr says the prefix")
    if "%" in address:
        raise RenderError(address.pointer, "an address has no zone: remove the part from % on")
    try:
        return ip_interface(f"{_ip(address)}/{prefix}")
    except ValueError:
        raise RenderError(f"{node.pointer}/prefix", f"{prefix} is no prefix of {address}") from None


def users(values: Mapping[str, Any]) -> tuple[User, ...]:
    """The accounts in the order given; RenderError for what passwd(5), group(5) or sudoers(5) cannot hold."""
    return tuple(_user(node) for node in Node(values)["users"].items())


def _user(node: Node) -> User:
    name = node["name"].text(_LOGIN, "a login name (letters, digits, _ . -, at most 32)")
    if name == "root":
        raise RenderError(name.pointer, "root is not a user of this list: set it under root")
    hashed = _hash(node["hashed_passwd"])
    return User(
        name=name,
        gecos=node["gecos"].maybe(r"[^:]*", "a full name (it cannot hold a colon)") or None,
        uid=node["uid"].number(1, 4294967293),
        groups=node["groups"].texts(_LOGIN, "a group name"),
        shell=node["shell"].text(r"/[A-Za-z0-9._/-]+", "the path of a shell", default="/bin/bash"),
        sudo=tuple(Text(escape.sudoers(rule), rule.pointer) for rule in node["sudo"].texts()),
        keys=_keys(node),
        hash=hashed,
        locked=bool(node["lock_passwd"].flag(hashed is None)) or hashed is None,
        system=bool(node["system"].flag(False)),
    )


def _hash(node: Node) -> Text | None:
    return node.maybe(r"\$[A-Za-z0-9]+\$[A-Za-z0-9./$=,*+_-]{8,}", "a crypt(3) hash: make one with `mkpasswd --method=yescrypt`")


def _keys(node: Node) -> tuple[Text, ...]:
    return node["ssh_authorized_keys"].texts(r"[A-Za-z][^\\]* ?AAAA[^\\]*", "a line of authorized_keys, such as ssh-ed25519 AAAA... name")


def root_access(values: Mapping[str, Any]) -> tuple[Text | None, tuple[Text, ...]]:
    """Root's password hash (None: locked) and SSH keys."""
    node = Node(values)["root"]
    return _hash(node["hashed_passwd"]), _keys(node)


def wants_ssh(values: Mapping[str, Any]) -> bool:
    """Whether anything in `values` supposes an SSH server: a key, or a word on password logins."""
    keys = any(user.keys for user in users(values)) or bool(root_access(values)[1])
    return keys or ssh_pwauth(values) is not None


def ssh_pwauth(values: Mapping[str, Any]) -> bool | None:
    """Whether sshd takes passwords; None leaves the system's default."""
    return Node(values)["ssh_pwauth"].flag(None)


def packages(values: Mapping[str, Any], pattern: str, what: str) -> tuple[str, ...]:
    """The packages to install: those named (each matching `pattern`), and sudo and openssh-server where other fields suppose them."""
    named: list[str] = list(Node(values)["packages"].texts(pattern, what))
    if any(user.sudo for user in users(values)):
        named.append("sudo")
    if wants_ssh(values):
        named.append("openssh-server")
    return tuple(dict.fromkeys(str(name) for name in named))


def ntp(values: Mapping[str, Any]) -> tuple[bool | None, tuple[Text, ...]]:
    """Whether time is synchronised (None: nothing said), and from which servers."""
    node = Node(values)["ntp"]
    servers = node["servers"].texts(_ADDRESS_OR_NAME, "a host name or an address")
    return node["enabled"].flag(True if servers else None), servers


def kernel_args(values: Mapping[str, Any]) -> tuple[Text, ...]:
    """The user's kernel arguments in order."""
    found = Node(values)["kernel_args"].texts()
    for argument in found:
        escape.kernel_arg(argument)
    return found


def install(values: Mapping[str, Any]) -> Install:
    """Where the installer comes from."""
    node = Node(values)["install"]
    return Install(
        source=node["source"].url(),
        kernel=node["kernel"].url("http", "https", "tftp"),
        initrd=node["initrd"].url("http", "https", "tftp"),
        image=node["image"].url("http", "https", "smb"),
        callback=node["callback"].url(),
        accepted=bool(node["acceptLicense"].flag(False)),
        generation=node["generation"].number(0, 2**31) or 0,
    )


def has_installer(values: Mapping[str, Any]) -> bool:
    """Whether an installer sets this host up; otherwise it starts from an image and cloud-init does. Reads `install` only."""
    found = values.get("install")
    if type(found) is not dict and not isinstance(found, Mapping):
        return False
    return found.get("source") is not None or any(found.get(key) is not None for key in ("image", "kernel", "initrd"))


def has_callback(values: Mapping[str, Any]) -> bool:
    """Whether an installer reports how far it is. Reads `install` only."""
    found = values.get("install")
    return isinstance(found, Mapping) and found.get("callback") is not None


def distribution(values: Mapping[str, Any]) -> str:
    """The distribution's name, or nothing where `os` does not say: for `serves`, which decides and never fails."""
    system = values.get("os")
    return str(system.get("distribution", "")) if type(system) is dict or isinstance(system, Mapping) else ""
