"""The kickstart that ESXi 7 and 8 follow: what there is besides the disk is what its few commands know.

In: `values`. Out: ks.cfg. Must not choose a disk: `install --disk` names it, or `--firstdisk` takes the first of one model. Sources: VMware ESXi
Installation and Setup, "Installation and Upgrade Script Commands"; %firstboot does not run under Secure Boot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from renderers import callback, inputs, postinstall
from renderers.contract import Renderer, RenderError, Text
from renderers.escape import esxi as quote
from renderers.escape import shell
from renderers.reader import Node

_KEYBOARDS = {
    "us": "US Default",
    "gb": "United Kingdom",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "jp": "Japanese",
}
_FACTS = (  # by localcli, as the installer has no hostd for esxcli to ask
    "facts() {",
    "  memory=$(localcli hardware memory get | sed -n 's/^ *Physical Memory: *//p')",
    "  memory=${memory%% *} cpus=$(localcli hardware cpu global get | sed -n 's/^ *CPU Threads: *//p')",
    "  serial=$(localcli hardware platform get | sed -n 's/^ *Serial Number: *//p' | clean)",
    "  uuid=$(localcli system uuid get | clean)",
    '  echo \'{"kernel":"\'"$(uname -r)"\'","architecture":"\'"$(uname -m)"\'","os":"\'"$(vmware -v | clean)"\'",\'',
    '  echo \'"memoryKiB":\'$((${memory:-0} / 1024))\',"cpus":\'${cpus:-0}\',"serial":"\'"$serial"\'","uuid":"\'"$uuid"\'","disks":[\'',
    "  comma=",
    "  localcli storage core device list | sed -n '/^[^ ]/p' | clean | while read -r name; do",
    '    echo "$comma"\'{"name":"\'"$name"\'"}\'',
    "    comma=,",
    "  done",
    "  echo '],\"addresses\":['",
    "  comma=",
    "  localcli network ip interface ipv4 get | sed 1,2d | while read -r name address rest; do",
    '    echo "$comma"\'"\'"$address"\'"\'',
    "    comma=,",
    "  done",
    "  echo ']}'",
    "}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Esxi:
    """What ESXi needs to be told besides: the modules of its image in order, and a licence."""

    modules: tuple[Text, ...]
    license: Text | None


def esxi(values: Mapping[str, Any]) -> Esxi:
    """The table `esxi` of the values."""
    node = Node(values)["esxi"]
    return Esxi(
        modules=node["modules"].texts(r"[A-Za-z0-9_][A-Za-z0-9._-]*", "the file name of a module, as boot.cfg of the image has it"),
        license=node["licenseKey"].maybe(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){4}", "a licence key such as XXXXX-XXXXX-XXXXX-XXXXX-XXXXX"),
    )


def render(values: Mapping[str, Any]) -> bytes:
    """The kickstart; RenderError without a disk or the word that the licence is accepted, or for what ESXi cannot do."""
    host, install = inputs.machine(values), inputs.install(values)
    if not install.accepted:
        raise RenderError("/install/acceptLicense", "ESXi installs only where its licence agreement is accepted: read it and set true")
    hashed, keys = inputs.root_access(values)
    if hashed is None:
        raise RenderError("/root/hashed_passwd", "missing: ESXi has no locked root; make a hash with `mkpasswd --method=sha512crypt`")
    found, region = esxi(values), inputs.region(values)
    keyboard = _KEYBOARDS.get(region.layout)
    if keyboard is None:
        raise RenderError("/keyboard/layout", f"no keyboard of ESXi is known for it: set one of {', '.join(_KEYBOARDS)}")
    lines = [
        "vmaccepteula",
        _disk(values),
        f"rootpw --iscrypted {quote(hashed)}",
        f"keyboard {quote(keyboard)}",
        *([f"serialnum --esx={quote(found.license)}"] if found.license else []),
        _network(host, inputs.interfaces(values)),
        "reboot",
    ]
    if install.callback is not None:
        lines += ["", "%pre --interpreter=busybox", *callback.here(install.callback, host, _FACTS), callback.tell("booted")]
        # from a root without host keys: those of the installer itself are not the machine's, %firstboot has them
        lines += ["", "%post --interpreter=busybox --ignorefailure=true", callback.tell("installed", root="/tmp")]  # noqa: S108
    first = _first_boot(values, keys, install.callback, host)
    if first:
        lines += ["", "%firstboot --interpreter=busybox", *first]
    return ("\n".join(lines) + "\n").encode()


def _disk(values: Mapping[str, Any]) -> str:
    node = Node(values)["disk"]
    if not node:
        raise RenderError("/disk", "missing: say which disk the installer may erase, by disk.device or disk.match.model")
    for field in ("layout", "partitions"):
        if node[field]:
            raise RenderError(f"/disk/{field}", "ESXi divides its disk by itself: remove this field")
    device = node["device"].maybe(r"/dev/disks/[A-Za-z0-9._:+-]+", "the path of a disk of ESXi, such as /dev/disks/naa.600508b1001c")
    match = node["match"]
    if (device is None) == (not match):
        raise RenderError("/disk", "say either disk.device or disk.match.model, one of the two: the installer erases this disk")
    if device is not None:
        return f"install --disk={quote(device.removeprefix('/dev/disks/'))} --overwritevmfs"
    for field in ("serial", "size", "ssd"):
        if match[field]:
            raise RenderError(f"/disk/match/{field}", "ESXi finds a disk by its model only: set disk.match.model or disk.device")
    model = match["model"].text(
        r"[^,*?]+", "the whole model of a disk (ESXi knows no wildcards)", why="ESXi finds a disk by its model only"
    )
    return f"install --firstdisk={quote(model)} --overwritevmfs"


def _network(host: inputs.Machine, nics: tuple[inputs.Interface, ...]) -> str:
    nic = nics[0] if nics else None
    if nic is None:
        return f"network --bootproto=dhcp --hostname={quote(host.fqdn)}"
    words = [f"--device={nic.mac or quote(nic.link)}", *([f"--vlanid={nic.vlan}"] if nic.vlan is not None else [])]
    if nic.address is None:
        return " ".join(["network --bootproto=dhcp", *words, f"--hostname={quote(host.fqdn)}"])
    if not isinstance(nic.address, IPv4Interface):
        raise RenderError(f"{nic.pointer}/address", "ESXi's kickstart takes IPv4 only: give the primary interface an IPv4 address or dhcp4")
    words = [f"--ip={nic.address.ip}", f"--netmask={nic.address.netmask}", *([f"--gateway={nic.gateway}"] if nic.gateway else []), *words]
    words += [f"--nameserver={quote(','.join(nic.nameservers[:2]))}"] if nic.nameservers else []
    return " ".join(["network --bootproto=static", *words, f"--hostname={quote(host.fqdn)}", "--addvmportgroup=0"])


def _first_boot(values: Mapping[str, Any], keys: tuple[Text, ...], url: Text | None, host: inputs.Machine) -> list[str]:
    lines: list[str] = []
    enabled, servers = inputs.ntp(values)
    if enabled and servers:
        words = " ".join(f"--server={shell(server)}" for server in servers)
        lines.append(f"esxcli system ntp set {words} --enabled=true")
    if keys:
        lines += [
            "vim-cmd hostsvc/enable_ssh",
            "vim-cmd hostsvc/start_ssh",
            postinstall.Target().write("/etc/ssh/keys-root/authorized_keys", *keys),
        ]
    if url is not None:
        lines.append("esxcli network firewall ruleset set --ruleset-id=httpClient --enabled=true")
        lines += [*callback.here(url, host, _FACTS), callback.tell("installed"), f"rm {callback.PATH}"]
        lines.append("esxcli network firewall ruleset set --ruleset-id=httpClient --enabled=false")
    return lines


RENDERER = Renderer(
    format="esxi",
    version=1,
    filename="ks.cfg",
    uses=("name", "tenant", "fqdn", "os", "install", "keyboard", "interfaces", "disk", "root", "ntp", "esxi"),
    serves=lambda values: inputs.has_installer(values) and inputs.distribution(values) == "esxi",
    render=render,
)
