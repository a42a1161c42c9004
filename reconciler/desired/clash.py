"""Identity clashes over the whole fleet: two hosts with one MAC or one address in the same network. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping

Owners = Callable[[str], Collection[str]]
"""The hosts that have an identity, such as `MAC 52:54:00:00:00:01 network/lan`, by group."""


def clashes(group: str, identities: Collection[str], owners: Owners) -> Iterator[str]:
    """What one host shares with others, in words."""
    for identity in identities:
        others = sorted(set(owners(identity)) - {group})
        if others:
            what, value, where = identity.split(" ", 2)
            place = f" in {where}" if where else ""
            yield f"{group} has the {what} {value}{place}, and so has {', '.join(others)}"


def changed_identities(before: Mapping[str, Collection[str]], after: Mapping[str, Collection[str]]) -> set[str]:
    """The identities that came to or left a host, from each host's identities before and after."""
    return {identity for group in {*before, *after} for identity in {*before.get(group, ())} ^ {*after.get(group, ())}}
