"""The AutoYaST profile that YaST follows on openSUSE Leap 15 and SUSE Linux Enterprise Server 12 and 15.

In: `values`. Out: autoinst.xml. Must not choose a disk: the one drive has a device, or the pre-script finds it by `disk.match`. Sources: SUSE,
"AutoYaST Guide" (15 SP6); `config:type` of its elements; AutoYaST has no hook for a failed installation, so none is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers import callback, disks, escape, inputs, postinstall, xml
from renderers.contract import Renderer, RenderError, Text
from renderers.escape import default_grub
from renderers.reader import Node
from renderers.xml import Element, element

_TARGET = postinstall.Target()
_PACKAGE = r"[A-Za-z0-9][A-Za-z0-9+._-]*"
_PROFILE = "/tmp/profile"  # noqa: S108 - AutoYaST's own; a modified.xml there replaces autoinst.xml
_DISK = "@DISK@"
_TYPES = {"efi": 259, "swap": 130, "lvm": 142, "bios_boot": 263}
_KEYMAPS = {"us": "english-us", "gb": "english-uk", "de": "german", "fr": "french", "es": "spanish", "it": "italian", "nl": "dutch"}


def render(values: Mapping[str, Any]) -> bytes:
    """The profile; RenderError without a disk, or for what AutoYaST cannot do."""
    host = inputs.machine(values)
    if host.major not in (12, 15):
        raise RenderError("/os/version", "AutoYaST installs the releases 12 and 15: newer ones come with another installer")
    plan = disks.disk_plan(values)
    root = Element("profile", {"xmlns": "http://www.suse.com/1.0/yast2ns", "xmlns:config": "http://www.suse.com/1.0/configns"})
    _general(root)
    _region(root, values)
    _network(root, host, inputs.interfaces(values))
    _storage(root, plan)
    _boot_loader(root, plan, values)
    _software(root, host, values)
    _root_access(root, values)
    _ntp(root, values)
    _scripts(root, host, plan, values)
    return xml.document(root, "<!DOCTYPE profile>")


def _flag(parent: Element, name: str, on: bool) -> None:
    element(parent, name, on, config__type="boolean")


def _number(parent: Element, name: str, number: int) -> None:
    element(parent, name, number, config__type="integer")


def _list(parent: Element, name: str) -> Element:
    return element(parent, name, config__type="list")


def _texts(parent: Element, name: str, item: str, texts: tuple[str, ...]) -> None:
    if texts:
        made = _list(parent, name)
        for text in texts:
            element(made, item, text)


def _general(root: Element) -> None:
    general = element(root, "general")
    mode = element(general, "mode")
    for name, on in (("confirm", False), ("final_halt", False), ("final_reboot", False), ("halt", False), ("second_stage", True)):
        _flag(mode, name, on)


def _region(root: Element, values: Mapping[str, Any]) -> None:
    region = inputs.region(values)
    language = element(root, "language")
    element(language, "language", region.locale)
    keymap = _KEYMAPS.get(region.layout)
    if keymap is None:
        raise RenderError("/keyboard/layout", f"no YaST keyboard is known for it: set one of {', '.join(_KEYMAPS)}")
    element(element(root, "keyboard"), "keymap", keymap)  # YaST knows no variants: the console's is the layout's own
    zone = element(root, "timezone")
    element(zone, "hwclock", "UTC")
    element(zone, "timezone", region.timezone)


def _network(root: Element, host: inputs.Machine, nics: tuple[inputs.Interface, ...]) -> None:
    network = element(root, "networking")
    _flag(network, "keep_install_network", not nics)
    dns = element(network, "dns")
    element(dns, "hostname", host.name)
    if host.domain:
        element(dns, "domain", host.domain)
    _texts(dns, "nameservers", "nameserver", tuple(dict.fromkeys(server for nic in nics if nic.address for server in nic.nameservers)))
    _texts(dns, "searchlist", "search", tuple(dict.fromkeys(name for nic in nics if nic.address for name in nic.search)))
    if not nics:
        return
    devices = _list(network, "interfaces")
    for nic in nics:
        _interface(element(devices, "interface"), nic)
    rules = _list(network, "net-udev")
    for link, mac in {nic.link: nic.mac for nic in nics if nic.mac}.items():
        rule = element(rules, "rule")
        for name, text in (("name", link), ("rule", "ATTR{address}"), ("value", mac)):
            element(rule, name, text)
    routed = next((nic for nic in nics if nic.gateway), None)
    if routed is not None:
        route = element(_list(element(network, "routing"), "routes"), "route")
        for name, text in (("destination", "default"), ("device", routed.device), ("gateway", str(routed.gateway)), ("netmask", "-")):
            element(route, name, text)


def _interface(made: Element, nic: inputs.Interface) -> None:
    if nic.address is not None and nic.dhcp4:
        raise RenderError(f"{nic.pointer}/dhcp4", "AutoYaST gives an interface either an address or DHCP: set one of the two")
    element(made, "bootproto", "static" if nic.address else "dhcp4" if nic.dhcp4 else "none")
    element(made, "device", nic.device)
    element(made, "startmode", "auto")
    if nic.address is not None:
        element(made, "ipaddr", str(nic.address.ip))
        element(made, "prefixlen", str(nic.address.network.prefixlen))
    if nic.mtu:
        element(made, "mtu", str(nic.mtu))
    if nic.vlan is not None:
        element(made, "etherdevice", nic.link)
        element(made, "vlan_id", str(nic.vlan))


def _storage(root: Element, plan: disks.DiskPlan) -> None:
    drives = _list(root, "partitioning")
    drive = element(drives, "drive")
    element(drive, "device", plan.device or _DISK)  # the pre-script writes the disk that it found
    element(drive, "disklabel", "gpt")
    _flag(drive, "initialize", True)
    element(drive, "type", "CT_DISK", config__type="symbol")
    element(drive, "use", "all")
    parts = _list(drive, "partitions")
    if not plan.uefi:
        boot = element(parts, "partition")
        _flag(boot, "format", False)
        _number(boot, "partition_id", _TYPES["bios_boot"])
        element(boot, "size", "8M")
    volumes = [part for part in plan.partitions if part.volume]
    for part in plan.partitions:
        if not part.volume:
            _partition(element(parts, "partition"), part)
    if not volumes:
        return
    physical = element(parts, "partition")
    _flag(physical, "format", False)
    element(physical, "lvm_group", disks.VOLUME_GROUP)
    _number(physical, "partition_id", _TYPES["lvm"])
    element(physical, "size", "max")
    group = element(drives, "drive")
    element(group, "device", f"/dev/{disks.VOLUME_GROUP}")
    element(group, "type", "CT_LVM", config__type="symbol")
    element(group, "use", "all")
    held = _list(group, "partitions")
    for part in volumes:
        _partition(element(held, "partition"), part)


def _partition(made: Element, part: disks.Partition) -> None:
    element(made, "filesystem", part.filesystem, config__type="symbol")
    _flag(made, "format", True)
    if part.volume:
        element(made, "lv_name", part.volume)
    element(made, "mount", part.mount)
    kind = "efi" if part.mount == "/boot/efi" else part.filesystem
    if kind in _TYPES and not part.volume:
        _number(made, "partition_id", _TYPES[kind])
    element(made, "size", "max" if part.size_mib is None else f"{part.size_mib}M")


def _boot_loader(root: Element, plan: disks.DiskPlan, values: Mapping[str, Any]) -> None:
    loader = element(root, "bootloader")
    args = " ".join(default_grub(argument) for argument in inputs.kernel_args(values))
    if args:
        element(element(loader, "global"), "append", args)
    element(loader, "loader_type", "grub2-efi" if plan.uefi else "grub2")


def _software(root: Element, host: inputs.Machine, values: Mapping[str, Any]) -> None:
    software = element(root, "software")
    if Node(values)["package_upgrade"].flag(False):
        _flag(software, "do_online_update", True)
    if host.distribution == "sles" and host.major >= 15:
        _texts(software, "products", "product", ("SLES",))
    elif host.distribution == "opensuse-leap":
        _texts(software, "products", "product", ("Leap",))
    named = ["openssh" if name == "openssh-server" else name for name in inputs.packages(values, _PACKAGE, "the name of a package")]
    named += ["curl"] if inputs.install(values).callback else []  # for the report from inside the new system
    _texts(software, "packages", "package", tuple(dict.fromkeys(named)))
    _texts(software, "patterns", "pattern", ("base",))


def _root_access(root: Element, values: Mapping[str, Any]) -> None:
    hashed, keys = inputs.root_access(values)
    account = element(_list(root, "users"), "user")
    _texts(account, "authorized_keys", "listentry", keys)
    _flag(account, "encrypted", True)
    element(account, "user_password", hashed or "!")
    element(account, "username", "root")


def _ntp(root: Element, values: Mapping[str, Any]) -> None:
    enabled, servers = inputs.ntp(values)
    if not (enabled and servers):
        return
    client = element(root, "ntp-client")
    made = _list(client, "ntp_servers")
    for server in servers:
        entry = element(made, "ntp_server")
        element(entry, "address", server)
        _flag(entry, "iburst", True)
    element(client, "ntp_sync", "systemd")


def _scripts(root: Element, host: inputs.Machine, plan: disks.DiskPlan, values: Mapping[str, Any]) -> None:
    url = inputs.install(values).callback
    before = [] if url is None else [*callback.here(url, host), callback.tell("booted")]
    if plan.match:
        for pattern in (plan.match.serial, plan.match.model):
            escape.xml(pattern or "")
        before += [*disks.find_disk(plan.match), f'sed "s|{_DISK}|/dev/$disk|" {_PROFILE}/autoinst.xml > {_PROFILE}/modified.xml']
    stages = {
        "pre-scripts": before,
        "postpartitioning-scripts": [] if url is None else [callback.tell("partitioned")],
        "chroot-scripts": _inside(url, host, values),
    }
    if not any(stages.values()):
        return
    made = element(root, "scripts")
    for stage, lines in stages.items():
        if not lines:
            continue
        script = element(_list(made, stage), "script")
        if stage == "chroot-scripts":
            _flag(script, "chrooted", True)
        _flag(script, "debug", False)  # or the log would show every command, the callback's URL with it
        element(script, "filename", "octofleet.sh")
        element(script, "interpreter", "shell")
        xml.script(script, "source", lines)


def _inside(url: Text | None, host: inputs.Machine, values: Mapping[str, Any]) -> list[str]:
    """In the installed system, before the machine starts from its disk: accounts by useradd, as YaST may make its own later."""
    users = inputs.users(values)
    for text in (text for user in users for text in (user.gecos or "", *user.sudo, *user.keys)):
        escape.xml(text)  # here, while it knows its field
    lines = postinstall.accounts(_TARGET, users)
    for user in users:
        lines += postinstall.keys(_TARGET, user.name, f"/home/{user.name}", user.keys)
    lines += [*postinstall.sudo(_TARGET, users), *postinstall.sshd(_TARGET, values)]
    if url is None:
        return ["set -e", *lines] if lines else []
    reports = [*callback.here(url, host), f"trap '[ $? = 0 ] || {callback.tell('failed')}; rm -f {callback.PATH}' EXIT"]
    keys = "[ ! -x /usr/bin/ssh-keygen ] || ssh-keygen -A > /dev/null"  # or sshd would make the keys at its first start
    return [*reports, "set -e", *lines, keys, callback.tell("installed")]


RENDERER = Renderer(
    format="autoyast",
    version=1,
    filename="autoinst.xml",
    uses=(
        "name",
        "tenant",
        "fqdn",
        "os",
        "install",
        "locale",
        "timezone",
        "keyboard",
        "interfaces",
        "disk",
        "firmware",
        "users",
        "root",
        "ssh_pwauth",
        "ntp",
        "packages",
        "package_upgrade",
        "kernel_args",
    ),
    serves=lambda values: inputs.has_installer(values) and inputs.distribution(values) in inputs.SUSE_FAMILY,
    render=render,
)
