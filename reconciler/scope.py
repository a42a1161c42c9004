"""Scopes: which part of a fleet a plan is about. Pure."""

import re
from fnmatch import fnmatchcase

_CLASS = re.compile(r"\[!?[^\[\]/]+\]")
_WILD = re.compile(r"[*?\[]")
_TEXT = re.compile(r"[A-Za-z0-9_.*?/\[\]!-]{1,300}")


def is_scope(text: str) -> bool:
    """Whether a text is written as scopes are; another one would take in nothing."""
    first, *rest = text.split("/")
    shaped = (first == "tenant" and len(rest) == 1) or (first == "host" and len(rest) == 2) or len(rest) == 3
    return _TEXT.fullmatch(text) is not None and not has_open_class(text) and ((shaped and all(rest)) or "*" in text)


def has_open_class(text: str) -> bool:
    """Whether a `[` is not closed before the next slash: such a pattern takes in other parts than it seems to name (`[!/x/shop/]*` almost everything)."""
    return "[" in _CLASS.sub("", text)


def in_scope(where: str, scope: str) -> bool:
    """Whether an address (`driver/kind/tenant/name`) or group (`host/tenant/name`) is in a scope.

    A scope is a pattern over whole addresses, or over a manifest: `host/shop/web-*` takes every resource of those hosts, `tenant/shop` of that tenant. A
    rule of a tenant (`policy/shop/web-01`) is no host's.
    """
    if not scope or fnmatchcase(where, scope):
        return True
    wanted = scope.split("/")
    found = where.split("/")
    tenant, name = (found[2], found[3].split(".")[0]) if len(found) == 4 else (found[1], found[2]) if len(found) == 3 else ("", "")
    if wanted[0] == "host" and len(wanted) == 3:
        return is_of_a_host(where) and fnmatchcase(tenant, wanted[1]) and fnmatchcase(name, wanted[2])
    if wanted[0] == "tenant" and len(wanted) == 2:
        return fnmatchcase(name if found[1] == "tenant" else tenant, wanted[1])
    return False


def includes(scope: str, wanted: str) -> bool:
    """Whether all that a pattern takes in is in a scope. `host/shop/web-?` does not include `host/shop/web-*`: of the wildcards of scopes only `*` takes in
    whatever another one may stand for."""
    if not _WILD.search(wanted) or wanted == scope:
        return in_scope(wanted, scope)
    return not _WILD.search(scope.replace("*", "")) and in_scope(wanted, scope)


def is_of_a_host(where: str) -> bool:
    """Whether an address or group is of a host: what the driver `fleet` has of rules and tenants is not."""
    found = where.split("/")
    if len(found) != 4:
        return found[0] == "host"
    return found[0] != "fleet" or found[1] in ("host", "rollout")
