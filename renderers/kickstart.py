"""The kickstart that Anaconda follows on RHEL, Rocky Linux, AlmaLinux, CentOS Stream and Fedora.

In: `values`. Out: kickstart.cfg. Must not choose a disk: `ignoredisk --only-use` names the one disk, or %pre finds it by `disk.match`.
Source: pykickstart, "Kickstart Documentation"; RHEL 8, 9 and 10, "Kickstart commands and options reference".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Interface
from typing import Any

from renderers import callback, disks, inputs, postinstall
from renderers.contract import Renderer, RenderError, Text
from renderers.escape import default_grub
from renderers.escape import kickstart as quote
from renderers.reader import Node

_PACKAGE = r"@?\^?[A-Za-z0-9][A-Za-z0-9+._:~*-]*"
_PACKAGE_IS = "the name of a package, or @group"
_DISK_FILE = "/tmp/octofleet-disk.ks"  # noqa: S108 - Anaconda's own /tmp, where %pre leaves what the commands include
_TARGET = postinstall.Target()
_INSTALLED = [
    "root=/mnt/sysroot; [ -d $root/etc ] || root=/mnt/sysimage",  # RHEL 8 has the latter
    "[ ! -x $root/usr/bin/ssh-keygen ] || chroot $root ssh-keygen -A > /dev/null",  # or sshd would make the keys at its first start
    callback.tell("installed", root="$root"),
]


def render(values: Mapping[str, Any]) -> bytes:
    """The kickstart; RenderError without a disk or an installation tree, or for what Anaconda cannot do."""
    host = inputs.machine(values)
    source = inputs.install(values).source
    if source is None:
        raise RenderError("/install/source", "missing: the URL of the installation tree")
    legacy = host.distribution != "fedora" and host.major < 9
    plan = disks.disk_plan(values)
    lines = [
        "text",
        f"url --url={quote(source)}",
        *_region(values, legacy=legacy),
        *_network(host, inputs.interfaces(values), legacy=legacy),
        *_accounts(values),
        *_storage(host, plan, values),
        "firstboot --disable",
        "reboot",
        *_section("%packages", ["@core", *inputs.packages(values, _PACKAGE, _PACKAGE_IS)]),
    ]
    url = inputs.install(values).callback
    if url is not None:
        lines += _reports(url, host)
    if plan.match:
        found = f'echo "ignoredisk --only-use=$disk" > {_DISK_FILE}'
        lines += _section("%pre --erroronfail", [*disks.find_disk(plan.match), found])
    lines += _section("%post --erroronfail --log=/root/octofleet-post.log", _post(values, legacy=legacy))
    if url is not None:
        lines += _section("%post --nochroot", _INSTALLED)
    return ("\n".join(lines) + "\n").encode()


def _section(head: str, body: Iterable[str]) -> list[str]:
    body = list(body)
    return ["", head, *body, "%end"] if body else []


def _reports(url: Text, host: inputs.Machine) -> list[str]:
    """The script, and its reports of what happens before the system is on the disk or when it never gets there."""
    return [
        *_section("%pre", [*callback.here(url, host), callback.tell("booted")]),
        *_section("%pre-install", [callback.tell("partitioned")]),
        *_section("%onerror", [callback.tell("failed", log="/tmp/anaconda.log")]),  # noqa: S108 - Anaconda's own
    ]


def _region(values: Mapping[str, Any], *, legacy: bool) -> list[str]:
    region = inputs.region(values)
    layout = f"{region.layout} ({region.variant})" if region.variant else str(region.layout)
    enabled, servers = inputs.ntp(values)
    zone = f"timezone {quote(region.timezone)} --utc"
    sources: list[str] = []
    if legacy:  # RHEL 8 has no timesource
        zone += " --nontp" if enabled is False else f" --ntpservers={quote(','.join(servers))}" if servers else ""
    elif enabled is False:
        sources = ["timesource --ntp-disable"]
    else:
        sources = [f"timesource --ntp-server={quote(server)}" for server in servers]
    return [f"lang {quote(region.locale)}", f"keyboard --vckeymap={quote(region.layout)} --xlayouts={quote(layout)}", zone, *sources]


def _network(host: inputs.Machine, nics: tuple[inputs.Interface, ...], *, legacy: bool) -> list[str]:
    if not nics:
        return [f"network --device=link --bootproto=dhcp --activate --hostname={quote(host.fqdn)}"]
    lines = [_interface(nic, legacy=legacy) for nic in nics]
    lines[0] += f" --hostname={quote(host.fqdn)}"
    return lines


def _interface(nic: inputs.Interface, *, legacy: bool) -> str:
    if nic.address is not None and nic.dhcp4:
        raise RenderError(f"{nic.pointer}/dhcp4", "a kickstart gives an interface either an address or DHCP: set one of the two")
    words = [f"network --device={quote(nic.mac or nic.link)}"]
    if nic.address is None:
        words.append("--bootproto=dhcp" if nic.dhcp4 else "--noipv4 --noipv6")
    elif isinstance(nic.address, IPv4Interface):
        words.append(f"--bootproto=static --ip={nic.address.ip} --netmask={nic.address.netmask}")
        words += [f"--gateway={nic.gateway}"] if nic.gateway else []
    else:
        words.append(f"--noipv4 --ipv6={nic.address}")
        words += [f"--ipv6gateway={nic.gateway}"] if nic.gateway else []
    if nic.address is not None and nic.nameservers:
        words.append(f"--nameserver={quote(','.join(nic.nameservers))}")
    if nic.address is not None and nic.search and not legacy:  # the option came with RHEL 9
        words.append(f"--ipv{nic.address.version}-dns-search={quote(','.join(nic.search))}")
    if nic.vlan is not None:
        words.append(f"--vlanid={nic.vlan} --interfacename={quote(nic.device)}")
    words += [f"--mtu={nic.mtu}"] if nic.mtu else []
    words += [] if nic.primary else ["--nodefroute"]
    return " ".join([*words, "--onboot=yes", "--activate"])


def _accounts(values: Mapping[str, Any]) -> list[str]:
    hashed, keys = inputs.root_access(values)
    lines = [f"rootpw --iscrypted {quote(hashed)}" if hashed else "rootpw --lock"]
    lines += [f"sshkey --username=root {quote(key)}" for key in keys]
    for user in inputs.users(values):
        if user.system:
            continue  # Anaconda knows no system accounts: %post makes them
        words = [f"user --name={quote(user.name)}", f"--shell={quote(user.shell)}"]
        words += [f"--gecos={quote(user.gecos)}"] if user.gecos else []
        words += [f"--uid={user.uid}"] if user.uid is not None else []
        words += [f"--groups={quote(','.join(user.groups))}"] if user.groups else []
        words += [f"--password={quote(user.hash)} --iscrypted"] if user.hash else []
        words += ["--lock"] if user.locked else []
        lines.append(" ".join(words))
        lines += [f"sshkey --username={quote(user.name)} {quote(key)}" for key in user.keys]
    return lines


def _storage(host: inputs.Machine, plan: disks.DiskPlan, values: Mapping[str, Any]) -> list[str]:
    args = " ".join(default_grub(argument) for argument in inputs.kernel_args(values))
    lines = ["zerombr", f"ignoredisk --only-use={quote(plan.device.removeprefix('/dev/'))}" if plan.device else f"%include {_DISK_FILE}"]
    lines += ["clearpart --all --initlabel --disklabel=gpt", f"bootloader --append={quote(args)}" if args else "bootloader"]
    lines += [] if plan.uefi else ["part biosboot --fstype=biosboot --size=1"]
    volumes: list[str] = []
    for index, part in enumerate(plan.partitions):
        size = "--size=1 --grow" if part.size_mib is None else f"--size={part.size_mib}"
        if part.filesystem == "btrfs" and (part.volume or host.distribution != "fedora"):
            why = "Anaconda makes btrfs on Fedora and outside LVM only: use xfs or ext4"
            raise RenderError("/disk/partitions", why)
        if part.volume:
            volumes.append(
                f"logvol {quote(part.mount)} --vgname={disks.VOLUME_GROUP} --name={part.volume} --fstype={part.filesystem} {size}"
            )
        elif part.filesystem == "btrfs":
            lines += [f"part btrfs.{index:02d} {size}", f"btrfs {quote(part.mount)} --label=btrfs{index} btrfs.{index:02d}"]
        else:
            kind = "efi" if part.mount == "/boot/efi" else part.filesystem
            lines.append(f"part {quote(part.mount)} --fstype={kind} {size}")
    if volumes:
        lines += ["part pv.01 --size=1 --grow", f"volgroup {disks.VOLUME_GROUP} pv.01", *volumes]
    return lines


def _post(values: Mapping[str, Any], *, legacy: bool) -> list[str]:
    users = inputs.users(values)
    made = tuple(user for user in users if user.system)
    lines = postinstall.accounts(_TARGET, made)
    for user in made:
        lines += postinstall.keys(_TARGET, user.name, f"/home/{user.name}", user.keys)
    lines += postinstall.sudo(_TARGET, users)
    allowed = inputs.ssh_pwauth(values)
    if legacy and allowed is not None:  # RHEL 8's sshd_config includes no directory
        lines.append(f"sed -i '1i PasswordAuthentication {'yes' if allowed else 'no'}' /etc/ssh/sshd_config")
    else:
        lines += postinstall.sshd(_TARGET, values)
    if legacy:
        lines += _search(inputs.interfaces(values))
    lines += ["dnf -y upgrade"] if Node(values)["package_upgrade"].flag(False) else []
    return ["set -eu", *lines] if lines else []


def _search(nics: tuple[inputs.Interface, ...]) -> list[str]:
    """RHEL 8 has no option for DNS search domains: they go into the ifcfg file that holds the address (ifcfg(5), DOMAIN)."""
    files = "/etc/sysconfig/network-scripts/ifcfg-*"
    return [
        f"grep -lwF {nic.address.ip} {files} | while read -r file; do echo DOMAIN=\\'{' '.join(nic.search)}\\' >> \"$file\"; done"
        for nic in nics
        if nic.address is not None and nic.search
    ]


RENDERER = Renderer(
    format="kickstart",
    version=2,
    filename="kickstart.cfg",
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
    serves=lambda values: inputs.has_installer(values) and inputs.distribution(values) in inputs.RHEL_FAMILY,
    render=render,
)
