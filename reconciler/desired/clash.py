"""Identity clashes over the whole fleet: two hosts with one address in the same network, or with the MAC, UUID, serial number or asset tag of one machine,
whichever their tenants: whose manifest it is would install the other's. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping

Owners = Callable[[str], Collection[str]]
"""The hosts that have an identity, such as `address 192.0.2.11 network/lan` or `MAC 52:54:00:00:00:01 ` (of no place), by group."""
MACHINE = (("uuid", "UUID"), ("serial", "serial"), ("assetTag", "asset-tag"))
"""By what a machine is known, as manifests and as identities have it."""


def of_machine(hardware: Mapping[str, object]) -> list[str]:
    """The identities that firmware tells; case does not make them different."""
    return [f"{what} {str(hardware[name]).strip().lower()} " for name, what in MACHINE if hardware.get(name)]


def clashes(group: str, identities: Collection[str], owners: Owners) -> Iterator[str]:
    """What one host shares with others, in words."""
    for identity in identities:
        others = sorted(set(owners(identity)) - {group})
        if others:
            what, _, rest = identity.partition(" ")
            value, _, where = rest.rpartition(" ")
            place = f" in {where}" if where else ""
            yield f"{group} has the {what.replace('-', ' ')} {value}{place}, and so has {', '.join(others)}"


def changed_identities(before: Mapping[str, Collection[str]], after: Mapping[str, Collection[str]]) -> set[str]:
    """The identities that came to or left a host, from each host's identities before and after."""
    return {identity for group in {*before, *after} for identity in {*before.get(group, ())} ^ {*after.get(group, ())}}
