"""A site's DHCP server: dnsmasq, with or without boot files in its answers.

Sources: dnsmasq(8); RFC 4578 (client architectures), RFC 2132.
"""

from pathlib import Path
from urllib.parse import urlencode

NETWORK, SERVER, SITE = "10.77.0.0", "10.77.0.1", "10.77.0.2"
QUERY = {
    "mac": "net0/mac",
    "uuid": "uuid",
    "serial": "serial:uristring",
    "asset": "asset:uristring",
    "arch": "buildarch",
    "platform": "platform",
}


def script_url(base: str) -> str:
    """Where iPXE asks who it is to be, with what it knows of its machine."""
    return f"{base}/boot/ipxe?{urlencode({name: f'${{{setting}}}' for name, setting in QUERY.items()}, safe='${}/:')}"


def addresses(interface: str, leases: Path) -> list[str]:
    """Addresses and nothing else. Router advertisements too: without them iPXE waits 13 s for them."""
    return [
        "port=0",
        "log-facility=-",
        "log-dhcp",
        "no-ping",
        "bind-interfaces",
        f"interface={interface}",
        f"dhcp-leasefile={leases}",
        "dhcp-authoritative",
        "dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,10m",
        f"dhcp-option=option:dns-server,{SITE}",  # Debian's installer asks a person for one otherwise
        "dhcp-option=option:domain-name,lab",
        "enable-ra",
        "dhcp-range=fd77::,ra-stateless,64,10m",
    ]


def boot_files(*, script: str, uefi: str = "snponly.efi", http: str | None = None, tftp_root: Path | None = None) -> list[str]:
    """Boot files by client architecture: undionly.kpxe or `uefi` by TFTP, the URL `http` for UEFI HTTP boot, and `script` for whoever is iPXE already.

    With `tftp_root` dnsmasq serves them, too; otherwise the server beside it does.
    """
    lines = [
        "dhcp-no-override",
        "dhcp-match=set:ipxe,175",
        "dhcp-match=set:uefi,option:client-arch,7",
        "dhcp-match=set:uefi,option:client-arch,9",
        "dhcp-match=set:http,option:client-arch,16",
        f"dhcp-boot=tag:!ipxe,tag:!uefi,tag:!http,undionly.kpxe,,{SERVER}",
        f"dhcp-boot=tag:!ipxe,tag:uefi,{uefi},,{SERVER}",
        f"dhcp-option-force=tag:ipxe,67,{script}",  # dhcp-boot has 127 bytes of room
    ]
    if http is not None:
        lines += [f"dhcp-boot=tag:!ipxe,tag:http,{http}", "dhcp-option-force=tag:http,60,HTTPClient"]
    if tftp_root is not None:
        lines += ["enable-tftp", f"tftp-root={tftp_root}"]
    return lines
