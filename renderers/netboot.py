"""What a boot loader must load to start a host's installer: kernel, initrd and kernel arguments, the same for iPXE and GRUB.

In: `values`. Out: `BootPlan`. Must not quote for any loader. Sources: Anaconda boot options, dracut.cmdline(7), Debian installation guide
5.3 and appendix B, initramfs-tools(7), subiquity's netboot how-to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from renderers import inputs
from renderers.contract import RenderError, Text
from renderers.reader import Node

USES = ("name", "tenant", "fqdn", "os", "interfaces", "kernel_args", "install", "boot")
_DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPlan:
    """Kernel and initrd URLs, the installer's arguments, then the user's."""

    title: str
    files: str  # URL below which the host's own files are, without a slash at the end
    kernel: str
    initrd: str
    installer_args: tuple[str, ...]
    user_args: tuple[Text, ...]
    trailer: tuple[str, ...]


def boot_plan(values: Mapping[str, Any]) -> BootPlan:
    """The plan for `values`; RenderError where a URL is missing or the network cannot be put on a kernel command line."""
    host = inputs.machine(values)
    install = inputs.install(values)
    base = Node(values)["boot"]["url"].url()
    if base is None:
        raise RenderError("/boot/url", "missing: the URL where the published boot files are served")
    files = f"{base.rstrip('/')}/{host.tenant}/{host.name}"
    nics = inputs.interfaces(values)
    nic = nics[0] if nics else None
    if host.rhel_like:
        args = _anaconda(host, install, files, nic)
    elif host.distribution == "debian":
        args = _debian(host, files, nic)
    else:
        args = _ubuntu(host, install, files, nic)
    kernel, initrd = _loadables(host, install)
    return BootPlan(
        title=f"{host.distribution} {host.version or ''}".rstrip() + f" ({host.architecture}) on {host.tenant}/{host.name}",
        files=files,
        kernel=kernel,
        initrd=initrd,
        installer_args=tuple(args),
        user_args=inputs.kernel_args(values),
        trailer=()
        if host.rhel_like
        else ("---",),  # nothing after it: the installed system's arguments are set by the installer's own file
    )


def _loadables(host: inputs.Machine, install: inputs.Install) -> tuple[str, str]:
    if install.kernel and install.initrd:
        return install.kernel, install.initrd
    if install.source is None:
        missing = "initrd" if install.kernel else "kernel"
        raise RenderError(f"/install/{missing}", "missing: set install.source, or both install.kernel and install.initrd")
    tree = install.source.rstrip("/")
    if host.rhel_like:
        paths = ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img")
    elif host.distribution == "debian":
        arch = _DEBIAN_ARCHITECTURES[host.architecture]
        directory = f"dists/{host.codename}/main/installer-{arch}/current/images/netboot/debian-installer/{arch}"
        paths = (f"{directory}/linux", f"{directory}/initrd.gz")
    else:
        paths = ("casper/vmlinuz", "casper/initrd")
    return install.kernel or f"{tree}/{paths[0]}", install.initrd or f"{tree}/{paths[1]}"


def _anaconda(host: inputs.Machine, install: inputs.Install, files: str, nic: inputs.Interface | None) -> list[str]:
    if install.source is None:
        raise RenderError("/install/source", "missing: Anaconda needs the installation tree (inst.repo)")
    args = [f"inst.ks={files}/kickstart.cfg", f"inst.repo={install.source}", "inst.text"]
    if nic is None:
        return [*args, "ip=dhcp"]
    kernel_named = re.fullmatch(r"eth[0-9]+", nic.link) is not None  # dracut must not rename into the kernel's own names
    if nic.mac and not kernel_named:
        args.append(f"ifname={nic.link}:{nic.mac}")
    elif nic.mac:
        args.append(f"BOOTIF=01-{nic.mac.replace(':', '-')}")
    if nic.vlan is not None:
        args.append(f"vlan={nic.device}:{nic.link}")
    device = "" if nic.mac and kernel_named and nic.vlan is None else nic.device
    if nic.address is None:
        args.append(f"ip={device}:dhcp" if device else "ip=dhcp")
    else:
        args.append(_static_ip(host, nic, nic.address, device, "none"))
        args += [f"nameserver={f'[{server}]' if ':' in server else server}" for server in nic.nameservers]
    return args


def _static_ip(host: inputs.Machine, nic: inputs.Interface, address: IPv4Interface | IPv6Interface, device: str, tail: str) -> str:
    gateway = nic.gateway or ""
    if isinstance(address, IPv4Interface):
        return f"ip={address.ip}::{gateway}:{address.netmask}:{host.fqdn}:{device}:{tail}"
    return f"ip=[{address.ip}]::{f'[{gateway}]' if gateway else ''}:{address.network.prefixlen}:{host.fqdn}:{device}:{tail}"


def _debian(host: inputs.Machine, files: str, nic: inputs.Interface | None) -> list[str]:
    args = ["auto=true", "priority=critical", f"url={files}/preseed.cfg"]
    if nic is not None and nic.vlan is not None:
        raise RenderError(f"{nic.pointer}/network", "Debian's installer has no VLANs: make an untagged interface the primary one")
    if nic is not None and nic.mac:
        args += ["interface=auto", f"BOOTIF=01-{nic.mac.replace(':', '-')}"]
    else:
        args.append(f"interface={nic.name}" if nic else "interface=auto")
    args += [f"hostname={host.name}", f"domain={host.domain}"]
    if nic is not None and nic.address is not None:
        version4 = isinstance(nic.address, IPv4Interface)
        args += ["netcfg/disable_autoconfig=true", f"netcfg/get_ipaddress={nic.address.ip if version4 else nic.address}"]
        args += [f"netcfg/get_netmask={nic.address.netmask}"] if version4 else []
        args += [f"netcfg/get_gateway={nic.gateway or 'none'}", "netcfg/confirm_static=true"]
        # one server: a blank would need quotes, which loaders pass on differently; preseed.py gives the installed system all of them
        args.append(f"netcfg/get_nameservers={''.join(nic.nameservers[:1])}")
    return args


def _ubuntu(host: inputs.Machine, install: inputs.Install, files: str, nic: inputs.Interface | None) -> list[str]:
    if install.image is None:
        raise RenderError("/install/image", "missing: the URL of the ISO that Ubuntu's installer fetches (url=)")
    # cloud-init would take url= for its own and fetch the whole ISO, but for cloud-config-url=
    args = ["autoinstall", f"url={install.image}", "cloud-config-url=/dev/null", f"ds=nocloud-net;s={files}/autoinstall/"]
    if nic is None:
        return [*args, "ip=dhcp"]
    if nic.vlan is not None:
        args.append(f"vlan={nic.device}:{nic.link}")
    if nic.mac:
        args.append(f"BOOTIF=01-{nic.mac.replace(':', '-')}")
    device = nic.device if nic.vlan is not None or not nic.mac else ""
    if nic.address is None:
        return [*args, f"ip=:::::{device}:dhcp" if device else "ip=dhcp"]
    if not isinstance(nic.address, IPv4Interface):
        raise RenderError(f"{nic.pointer}/address", "Ubuntu's initrd takes IPv4 only: give the primary interface an IPv4 address or dhcp4")
    servers = ":".join(["none", *nic.nameservers[:2]])
    return [*args, _static_ip(host, nic, nic.address, device, servers)]
