"""The preseed file that Debian's installer follows.

In: `values`. Out: preseed.cfg. Must not ask anything, and must not choose a disk: `partman-auto/disk` is named, or early_command finds it
by `disk.match`. Sources: Debian installation guide, appendix B and its example-preseed; partman-auto-recipe.txt; interfaces(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface
from typing import Any
from urllib.parse import urlsplit

from renderers import callback, disks, inputs, postinstall
from renderers.contract import Renderer, RenderError
from renderers.escape import default_grub, preseed_part
from renderers.escape import preseed as quote
from renderers.reader import Node
from renderers.user_data import PACKAGE, PACKAGE_IS

_TARGET = postinstall.Target(enter="in-target ", root="/target")
_JOIN = " \\\n    "  # a continued line: Debian's installer joins the parts with one blank
_PARTITIONED = "/usr/lib/base-installer.d/90octofleet"  # runs once the disk is partitioned and mounted
_LOG = "/var/log/syslog"
_FILESYSTEMS = {"vfat": "fat32", "swap": "linux-swap"}


def render(values: Mapping[str, Any]) -> bytes:
    """The preseed file; RenderError without a disk or a mirror, or for what debconf cannot carry."""
    host = inputs.machine(values)
    plan = disks.disk_plan(values)
    lines = [
        *_region(values),
        *_network(host, inputs.interfaces(values)),
        *_mirror(host, values),
        *_root(values),
        *_storage(plan),
        *_packages(values),
        *_boot_loader(plan, values),
        _question("finish-install/reboot_in_progress", "note", ""),
        *_commands(host, values),
    ]
    return ("\n".join(lines) + "\n").encode()


def _question(name: str, kind: str, value: str, owner: str = "d-i") -> str:
    return f"{owner} {name} {kind} {quote(value)}".rstrip()


def _script(name: str, parts: list[str]) -> str:
    return f"d-i {name} string {_JOIN.join(preseed_part(part) for part in parts)}"


def _commands(host: inputs.Machine, values: Mapping[str, Any]) -> list[str]:
    """early_command and late_command. The installer asks whether to go on where a step fails and has no hook for it, so a loop in the
    background looks for the line that it logs then; late_command has a trap of its own."""
    url, late = inputs.install(values).callback, _late(host, values)
    if url is None:
        return [_script("preseed/late_command", ["set -e;", *(f"{command};" for command in late or ["true"])])]
    failed = callback.tell("failed", log=_LOG)
    early = [
        f"{callback.write(url, host)};",
        f"{callback.tell('booted')};",
        f"{postinstall.Target().write(_PARTITIONED, '#!/bin/sh', callback.tell('partitioned'))};",
        f"chmod 755 {_PARTITIONED};",
        # [i], or the line in which the installer logs this very command would match
        f"(while sleep 5; do if grep -q 'Menu item [^ ]* fa[i]led' {_LOG}; then {failed}; break; fi; done) > /dev/null 2>&1 < /dev/null &",
    ]
    late = [f"trap '[ $? = 0 ] || {failed}' EXIT", "set -e", *late, callback.tell("installed", root="/target")]
    return [_script("preseed/early_command", early), _script("preseed/late_command", [f"{command};" for command in late])]


def _region(values: Mapping[str, Any]) -> list[str]:
    region = inputs.region(values)
    enabled, servers = inputs.ntp(values)
    lines = [
        _question("debian-installer/locale", "string", region.locale),
        _question("keyboard-configuration/xkb-keymap", "select", region.layout),
    ]
    if region.variant:
        lines.append(_question("keyboard-configuration/layoutcode", "string", region.layout))
        lines.append(_question("keyboard-configuration/variantcode", "string", region.variant))
    lines += [_question("clock-setup/utc", "boolean", "true"), _question("time/zone", "string", region.timezone)]
    lines.append(_question("clock-setup/ntp", "boolean", "false" if enabled is False else "true"))
    if servers and enabled:
        lines.append(_question("clock-setup/ntp-server", "string", servers[0]))
    return lines


def _network(host: inputs.Machine, nics: tuple[inputs.Interface, ...]) -> list[str]:
    lines = [
        _question("netcfg/get_hostname", "string", host.name),
        _question("netcfg/get_domain", "string", host.domain),
        _question("netcfg/hostname", "string", host.name),
        _question("netcfg/target_network_config", "select", "ifupdown"),
        _question("hw-detect/load_firmware", "boolean", "false"),
    ]
    nic = nics[0] if nics else None
    if nic is not None and nic.vlan is not None:
        raise RenderError(f"{nic.pointer}/network", "Debian's installer has no VLANs: make an untagged interface the primary one")
    return lines


def _mirror(host: inputs.Machine, values: Mapping[str, Any]) -> list[str]:
    source = inputs.install(values).source
    if source is None:
        raise RenderError("/install/source", "missing: the URL of the Debian mirror, such as http://mirror.example.net/debian")
    parts = urlsplit(source)
    return [
        _question("mirror/country", "string", "manual"),
        _question("mirror/protocol", "string", parts.scheme),
        _question(f"mirror/{parts.scheme}/hostname", "string", parts.netloc),
        _question(f"mirror/{parts.scheme}/directory", "string", parts.path.rstrip("/") or "/"),
        _question(f"mirror/{parts.scheme}/proxy", "string", ""),
        _question("mirror/suite", "string", host.codename),
    ]


def _root(values: Mapping[str, Any]) -> list[str]:
    hashed, _keys = inputs.root_access(values)
    return [
        _question("passwd/root-login", "boolean", "true"),
        _question("passwd/root-password-crypted", "password", hashed or "!"),  # ! is the hash of no password: locked
        _question("passwd/make-user", "boolean", "false"),  # late_command makes all users
    ]


def _storage(plan: disks.DiskPlan) -> list[str]:
    lines: list[str] = []
    if plan.match:
        for pattern in (plan.match.serial, plan.match.model):
            preseed_part(pattern or "")
        answers = ["debconf-set partman-auto/disk /dev/$disk;", "debconf-set grub-installer/bootdev /dev/$disk"]
        lines.append(_script("partman/early_command", [*disks.find_disk(plan.match), *answers]))
    else:
        lines.append(_question("partman-auto/disk", "string", plan.device or ""))
    lines += [
        _question("partman-auto/method", "string", "lvm" if plan.lvm else "regular"),
        _question("partman-auto-lvm/guided_size", "string", "max"),
        _question("partman-auto-lvm/new_vg_name", "string", disks.VOLUME_GROUP),
        _question("partman-partitioning/choose_label", "string", "gpt"),
        _question("partman-partitioning/default_label", "string", "gpt"),
        _question("partman/choose_label", "string", "gpt"),
        _question("partman/default_label", "string", "gpt"),
        _script("partman-auto/expert_recipe", _recipe(plan)),
        _question("partman-auto/choose_recipe", "select", "octofleet"),
        _question("partman-basicfilesystems/no_swap", "boolean", "false"),
        _question("partman-efi/non_efi_system", "boolean", "true" if plan.uefi else "false"),
    ]
    confirmed = (
        "lvm/device_remove_lvm",
        "lvm/confirm",
        "lvm/confirm_nooverwrite",
        "md/device_remove_md",
        "partitioning/confirm_write_new_label",
    )
    lines += [_question(f"partman-{name}", "boolean", "true") for name in confirmed]
    lines.append(_question("partman/choose_partition", "select", "finish"))
    return lines + [_question(f"partman/{name}", "boolean", "true") for name in ("confirm", "confirm_nooverwrite")]


def _recipe(plan: disks.DiskPlan) -> list[str]:
    """partman-auto's recipe: for each file system its least size, priority and largest size in MB (10^6 bytes), then what to do with it."""
    parts = ["octofleet ::"]
    if not plan.uefi:
        parts.append("1 1 1 free $iflabel{ gpt } $reusemethod{ } method{ biosgrub } .")
    plain = [part for part in plan.partitions if not part.volume]
    volumes = [part for part in plan.partitions if part.volume]
    parts += [_recipe_entry(part) for part in plain]
    if volumes:
        parts.append(f"1024 1000000 -1 ext4 $defaultignore{{ }} $primary{{ }} method{{ lvm }} vg_name{{ {disks.VOLUME_GROUP} }} .")
    return parts + [_recipe_entry(part) for part in volumes]


def _recipe_entry(part: disks.Partition) -> str:
    megabytes = 0 if part.size_mib is None else -(-part.size_mib * 1048576 // 1000000)
    size = f"{megabytes} {megabytes} {megabytes}" if megabytes else "1024 1000000 -1"
    filesystem = "free" if part.mount == "/boot/efi" else _FILESYSTEMS.get(part.filesystem, part.filesystem)
    place = f"$lvmok{{ }} in_vg{{ {disks.VOLUME_GROUP} }} lv_name{{ {part.volume} }}" if part.volume else "$primary{ }"
    if part.mount == "/boot/efi":
        use = "$iflabel{ gpt } $reusemethod{ } method{ efi } format{ }"
    elif part.mount == "swap":
        use = "method{ swap } format{ }"
    else:
        boot = "$bootable{ } " if part.mount == "/boot" else ""
        use = f"{boot}method{{ format }} format{{ }} use_filesystem{{ }} filesystem{{ {filesystem} }} mountpoint{{ {part.mount} }}"
    return f"{size} {filesystem} {place} {use} ."


def _packages(values: Mapping[str, Any]) -> list[str]:
    upgrade = "full-upgrade" if Node(values)["package_upgrade"].flag(False) else "none"
    packages = list(inputs.packages(values, PACKAGE, PACKAGE_IS))
    if any(nic.vlan is not None for nic in inputs.interfaces(values)):
        packages.append("vlan")
    return [
        _question("tasksel/first", "multiselect", "standard", owner="tasksel"),
        _question("pkgsel/include", "string", " ".join(dict.fromkeys(packages))),
        _question("pkgsel/upgrade", "select", upgrade),
        _question("popularity-contest/participate", "boolean", "false", owner="popularity-contest"),
        _question("apt-setup/disable-cdrom-entries", "boolean", "true"),
    ]


def _boot_loader(plan: disks.DiskPlan, values: Mapping[str, Any]) -> list[str]:
    args = " ".join(default_grub(argument) for argument in inputs.kernel_args(values))
    lines = [_question("grub-installer/only_debian", "boolean", "true"), _question("grub-installer/with_other_os", "boolean", "false")]
    lines += [_question("grub-installer/bootdev", "string", plan.device)] if plan.device else []
    return lines + ([_question("debian-installer/add-kernel-opts", "string", args)] if args else [])


def _late(host: inputs.Machine, values: Mapping[str, Any]) -> list[str]:
    users = inputs.users(values)
    _hashed, root_keys = inputs.root_access(values)
    for text in (*root_keys, *(text for user in users for text in (user.gecos or "", *user.sudo, *user.keys))):
        preseed_part(text)  # here, while it knows its field
    lines = _interfaces(inputs.interfaces(values))
    lines += postinstall.accounts(_TARGET, users)
    lines += postinstall.keys(_TARGET, "root", "/root", root_keys)
    for user in users:
        lines += postinstall.keys(_TARGET, user.name, f"/home/{user.name}", user.keys)
    lines += postinstall.sudo(_TARGET, users)
    lines += postinstall.sshd(_TARGET, values)
    enabled, servers = inputs.ntp(values)
    if enabled and servers:
        path = "/etc/systemd/timesyncd.conf.d"
        lines += [f"mkdir -p /target{path}", _TARGET.write(f"{path}/octofleet.conf", "[Time]", f"NTP={' '.join(servers)}")]
    return lines


def _interfaces(nics: tuple[inputs.Interface, ...]) -> list[str]:
    """Replace the installer's network set-up by one that names each device by its MAC (systemd.link(5)) and has all interfaces."""
    if not nics:
        return []
    interfaces, resolv = "/etc/network/interfaces", "/etc/resolv.conf"
    commands = ["mkdir -p /target/etc/systemd/network"]
    stanzas = ["source /etc/network/interfaces.d/*", "", "auto lo", "iface lo inet loopback"]
    linked: set[str] = set()
    for nic in nics:
        if nic.mac and nic.link not in linked:
            link = ("[Match]", f"MACAddress={nic.mac}", "Type=ether", "", "[Link]", f"Name={nic.link}")
            commands.append(_TARGET.write(f"/etc/systemd/network/10-{nic.link}.link", *link))
            linked.add(nic.link)
        stanzas += _stanza(nic)
    commands.append(_TARGET.write(interfaces, *stanzas))
    names = list(dict.fromkeys(name for nic in nics if nic.address for name in nic.search))
    servers = list(dict.fromkeys(server for nic in nics if nic.address for server in nic.nameservers))
    if servers:
        search = [f"search {' '.join(names)}"] if names else []
        commands += [f"rm -f /target{resolv}", _TARGET.write(resolv, *search, *(f"nameserver {server}" for server in servers))]
    return commands


def _stanza(nic: inputs.Interface) -> list[str]:
    if nic.address is not None and nic.dhcp4 and isinstance(nic.address, IPv4Interface):
        raise RenderError(f"{nic.pointer}/dhcp4", "Debian's ifupdown gives an interface either an address or DHCP: set one of the two")
    lines = ["", f"auto {nic.device}"]
    options = [f"    vlan-raw-device {nic.link}"] if nic.vlan is not None else []
    options += [f"    mtu {nic.mtu}"] if nic.mtu else []
    if nic.dhcp4:
        lines += [f"iface {nic.device} inet dhcp", *options]
    elif nic.address is None:
        lines += [f"iface {nic.device} inet manual", *options]
    if nic.address is not None:
        family = "inet" if nic.address.version == 4 else "inet6"
        lines += [f"iface {nic.device} {family} static", f"    address {nic.address}"]
        lines += [f"    gateway {nic.gateway}"] if nic.gateway else []
        lines += [] if nic.dhcp4 else options
    return lines


RENDERER = Renderer(
    format="preseed",
    version=2,
    filename="preseed.cfg",
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
    serves=lambda values: inputs.has_installer(values) and inputs.distribution(values) == "debian",
    render=render,
)
