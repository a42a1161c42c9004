"""What a boot loader must load to start a host's installer: kernel, initrd and kernel arguments, the same for iPXE and GRUB.

In: `values`. Out: `BootPlan`. Must not quote for any loader. Sources: Anaconda boot options, dracut.cmdline(7), Debian installation guide
5.3 and appendix B, initramfs-tools(7), subiquity's netboot how-to; SUSE linuxrc, "Parameter reference"; https://ipxe.org/wimboot; esx-boot, `mboot/mboot.c`.
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

USES = ("name", "tenant", "fqdn", "os", "interfaces", "kernel_args", "install", "boot", "firmware")
_DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BootPlan:
    """The kernel's URL, what is loaded beside it (name and URL), the installer's arguments, then the user's.

    With `wrapped` the kernel is wimboot, to which a boot loader hands each file under its name; else `beside` is the initrds, or nothing.
    """

    title: str
    files: str  # URL below which the host's own files are, without a slash at the end
    kernel: str
    beside: tuple[tuple[str, str], ...]
    wrapped: bool
    installer_args: tuple[str, ...]
    user_args: tuple[Text, ...]
    trailer: tuple[str, ...]


def own_files(values: Mapping[str, Any], *, loader: bool = False) -> str:
    """The URL below which the host's own files are, without a slash at the end. A boot server has another one for the `loader`, which trusts its own roots
    alone, than for installers (`boot.loaderUrl`; no manifest says it)."""
    host = inputs.machine(values)
    boot = Node(values)["boot"]
    base = (boot["loaderUrl"].url() if loader else None) or boot["url"].url()
    if base is None:
        raise RenderError(
            "/boot/url", "missing: the URL where the published boot files are served; a host's boot.url says it, or the setting boot.listen"
        )
    return f"{base.rstrip('/')}/{host.tenant}/{host.name}"


def authority(values: Mapping[str, Any]) -> str | None:
    """Where the loader finds what installers have to trust (`ca.gz`, an initrd; `ca.crt`), without a slash at the end: a boot server says it, no manifest."""
    base = Node(values)["boot"]["caUrl"].url()
    return base.rstrip("/") if base else None


def boot_plan(values: Mapping[str, Any]) -> BootPlan:
    """The plan for `values`; RenderError where a URL is missing or the network cannot be put on a kernel command line."""
    host = inputs.machine(values)
    install = inputs.install(values)
    files = own_files(values)
    nics = inputs.interfaces(values)
    nic = nics[0] if nics else None
    user_args, ca = inputs.kernel_args(values), authority(values)
    trailer: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...]
    if host.distribution == "windows":
        if user_args:
            raise RenderError("/kernel_args", "Windows has no kernel arguments: remove them")
        kernel, beside, args = _windows(install, own_files(values, loader=True))
        beside += (("ca.crt", f"{ca}/ca.crt"),) if ca else ()
    elif host.distribution == "esxi":
        kernel, beside, user_args = _mboot(install, values), (), ()  # boot.cfg has the user's arguments
        args = ["-c", f"{own_files(values, loader=True)}/boot.cfg"]
    else:
        kernel, initrd = _loadables(host, install)
        beside = (("initrd", initrd), *((("ca.gz", f"{ca}/ca.gz"),) if ca else ()))
        if host.rhel_like:
            args = _anaconda(host, install, files, nic)
        elif host.distribution in inputs.SUSE_FAMILY:
            args = _yast(host, install, files, nic)
        else:
            args = _debian(host, files, nic) if host.distribution == "debian" else _ubuntu(host, install, files, nic)
            trailer = ("---",)  # nothing after it: the installed system's arguments are set by the installer's own file
    return BootPlan(
        title=f"{host.distribution} {host.version or ''}".rstrip() + f" ({host.architecture}) on {host.tenant}/{host.name}",
        files=files,
        kernel=kernel,
        beside=beside,
        wrapped=host.distribution == "windows",
        installer_args=tuple(args),
        user_args=user_args,
        trailer=trailer,
    )


def _windows(install: inputs.Install, files: str) -> tuple[str, tuple[tuple[str, str], ...], list[str]]:
    """wimboot and Windows PE; no file here holds a secret: Windows PE fetches unattend.xml by itself (startnet.py)."""
    if install.source is None:
        raise RenderError("/install/source", "missing: the URL below which wimboot, curl.exe and the files of the Windows medium are")
    media = install.source.rstrip("/")
    own = tuple((name, f"{files}/{name}") for name in ("startnet.cmd", "winpeshl.ini"))
    paths = (("curl.exe", "curl.exe"), ("bcd", "boot/bcd"), ("boot.sdi", "boot/boot.sdi"), ("boot.wim", "sources/boot.wim"))
    return install.kernel or f"{media}/wimboot", (*own, *((name, f"{media}/{path}") for name, path in paths)), []


def _mboot(install: inputs.Install, values: Mapping[str, Any]) -> str:
    """ESXi's loader for UEFI, or its COM32 program for BIOS (which an iPXE runs that was built with COMBOOT)."""
    if install.source is None:
        raise RenderError("/install/source", "missing: the URL below which the files of the ESXi image are")
    firmware = Node(values)["firmware"].text("bios|uefi", "bios or uefi", why="say bios or uefi: ESXi has a loader for each")
    return install.kernel or f"{install.source.rstrip('/')}/{'efi/boot/bootx64.efi' if firmware == 'uefi' else 'mboot.c32'}"


def _loadables(host: inputs.Machine, install: inputs.Install) -> tuple[str, str]:
    if install.kernel and install.initrd:
        return install.kernel, install.initrd
    if install.source is None:
        missing = "initrd" if install.kernel else "kernel"
        raise RenderError(f"/install/{missing}", "missing: set install.source, or both install.kernel and install.initrd")
    tree = install.source.rstrip("/")
    if host.rhel_like:
        paths = ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img")
    elif host.distribution in inputs.SUSE_FAMILY:
        loader = f"boot/{host.architecture}/loader" if host.architecture == "x86_64" else f"boot/{host.architecture}"
        paths = (f"{loader}/linux", f"{loader}/initrd")
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


def _yast(host: inputs.Machine, install: inputs.Install, files: str, nic: inputs.Interface | None) -> list[str]:
    if install.source is None:
        raise RenderError("/install/source", "missing: YaST needs the installation repository (install=)")
    args = [f"autoyast={files}/autoinst.xml", f"install={install.source}", "textmode=1"]
    if nic is None:
        return args
    if nic.vlan is not None:
        args.append(f"vlanid={nic.vlan}")
    device = nic.mac or nic.link
    args.append(f"hostname={host.fqdn}")
    if nic.address is None:
        return [*args, f"ifcfg={device}=dhcp"]
    # one server: linuxrc separates several by blanks, which loaders pass on differently; the profile gives the system all of them
    return [*args, f"ifcfg={device}={nic.address},{nic.gateway or ''},{''.join(nic.nameservers[:1])},{host.domain}"]


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
    # one server: a blank would need quotes, which loaders pass on differently; preseed.py gives the installed system all of them. Where DHCP names none, an
    # empty answer keeps the installer from asking before it has fetched its preseed
    return [*args, f"netcfg/get_nameservers={''.join(nic.nameservers[:1]) if nic else ''}"]


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
