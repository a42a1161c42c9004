"""Netplan version 2: the network of a cloud-init host, and the same tree for Ubuntu's autoinstall.

In: `values["interfaces"]`. Out: a netplan document. Must not give two default routes: only the primary interface has one. Sources: netplan
YAML reference; cloud-init, "Networking config version 2" (which wants 0.0.0.0/0, not `default`, in older releases).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers import inputs, yaml
from renderers.contract import Renderer


def netplan(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree below `network:`; a host without interfaces gets DHCP on every Ethernet device."""
    ethernets: dict[str, Any] = {}
    vlans: dict[str, Any] = {}
    for nic in inputs.interfaces(values):
        link = ethernets.setdefault(nic.link, {})
        if nic.mac:
            link["match"] = {"macaddress": nic.mac}
            link["set-name"] = nic.link
        if nic.vlan is not None:
            vlans[nic.device] = {"id": nic.vlan, "link": nic.link, **_addresses(nic)}
        else:
            link.update(_addresses(nic))
    if not ethernets:
        ethernets["all"] = {"match": {"name": "e*"}, "dhcp4": True}
    for settings in ethernets.values():
        settings.setdefault("dhcp4", False)
    _fit_mtu(ethernets, vlans)
    tree: dict[str, Any] = {"version": 2, "ethernets": dict(sorted(ethernets.items()))}
    if vlans:
        tree["vlans"] = dict(sorted(vlans.items()))
    return tree


def _fit_mtu(ethernets: dict[str, Any], vlans: dict[str, Any]) -> None:
    # a VLAN cannot carry more than its link does
    for vlan in vlans.values():
        link = ethernets[vlan["link"]]
        if vlan.get("mtu", 0) > link.get("mtu", 1500):
            link["mtu"] = vlan["mtu"]


def _addresses(nic: inputs.Interface) -> dict[str, Any]:
    tree: dict[str, Any] = {"dhcp4": nic.dhcp4}
    if nic.address is not None:
        tree["addresses"] = [str(nic.address)]
        names = {"search": list(nic.search), "addresses": list(nic.nameservers)}
        if nic.nameservers or nic.search:
            tree["nameservers"] = {key: found for key, found in names.items() if found}
    if nic.gateway is not None:
        tree["routes"] = [{"to": "0.0.0.0/0" if nic.gateway.version == 4 else "::/0", "via": str(nic.gateway)}]
    if nic.mtu is not None:
        tree["mtu"] = nic.mtu
    return tree


def render(values: Mapping[str, Any]) -> bytes:
    """NoCloud's network-config: netplan version 2 without the word `network:` around it."""
    return yaml.document(netplan(values))


def serves(values: Mapping[str, Any]) -> bool:
    """Every host that starts from an image: one with an operating system and no installer."""
    return bool(inputs.distribution(values)) and not inputs.has_installer(values)


RENDERER = Renderer(
    format="network-config",
    version=1,
    filename="cloud-init/network-config",
    uses=("os", "install", "interfaces"),
    serves=serves,
    render=render,
)
