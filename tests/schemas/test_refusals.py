"""What the schemas refuse, and that the problem points at the value that is wrong."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

import schemas
from tests.schemas.documents import pointers, samples

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0ckZ58OafDbEGEvbn/ndlcSVWcsVez3Dqq+6OeYZA1 ops@example.net"
SECRET = {"secretRef": {"store": "shop-secrets", "key": "app_token"}}
VAULT = {"$octofleet.vault": "$ANSIBLE_VAULT;1.1;AES256\n6261736536340a\n"}


def host(spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "octofleet/v1", "kind": "Host", "metadata": {"name": "web-01", "tenant": "shop", **metadata}, "spec": spec or {}}


def other(kind: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "octofleet/v1", "kind": kind, "metadata": {"name": "x", **metadata}, "spec": spec}


def disk(*partitions: dict[str, Any]) -> dict[str, Any]:
    return host({"disk": {"device": "/dev/vda", "partitions": list(partitions)}})


def nic(**fields: Any) -> dict[str, Any]:
    return host({"interfaces": [{"name": "eth0", **fields}]})


def user(**fields: Any) -> dict[str, Any]:
    return host({"users": [{"name": "deploy", **fields}]})


def members(**spec: Any) -> dict[str, Any]:
    return other("HostSet", {"template": {}, **spec}, tenant="shop")


def generated(**fields: Any) -> dict[str, Any]:
    return members(generate={"names": "w-%d", "count": 1, **fields})


NAMES = ["", "Web", "-a", "a-", "a.b", "a/b", "a_b", "a" * 64, "a\n", "a\x00", "ä", "a b"]
MACS = ["52:54:00:AA:00:01", "52-54-00-aa-00-01", "525400aa0001", "52:54:00:aa:00", "53:54:00:aa:00:01", "52:54:00:aa:00:01\n"]
ADDRESSES = [
    "192.0.2.300",
    "192.0.2",
    "192.0.2.1/24",
    "192.0.2.01",
    "fe80::1%eth0",
    ":::",
    "1:2:3:4:5:6:7:8:9",
    "2001:DB8::1",
    "192.0.2.1\n",
    "host",
]
CIDRS = ["192.0.2.0", "192.0.2.0/33", "192.0.2.0/", "2001:db8::/129", "192.0.2.0/024", "192.0.2.0/24\n"]
SIZES = ["20GB", "20 GiB", "0GiB", "-1GiB", "1.5GiB", "GiB", "20gib", "REST", "rest\n", "1PiB"]
URLS = [
    "ftp://mirror.example.net/",
    "http://",
    "http:///x",
    "mirror.example.net",
    "http://a b/",
    "http://ops:pw@mirror.example.net/",
    "http://x/#y",
]
URLS += [
    "http://x/\n",
    "HTTP://x/",
    "http://x:0/",
    'http://x/"',
    "http://x/${y}",
    "http://192.0.2.300/",
    "http://x/`y`",
    "javascript:alert(1)",
]
PATHS = ["/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", "", "-x", "a/-x", "a\\b", "a\n", "a b", "..", "a/.."]
HASHES = [
    "password",
    "$1$abcdefgh$0123456789",
    "$6$short",
    "$6$salt$hash:x",
    "$6$salt$hash\n0123456789",
    "!",
    "*",
    "$6$octofleet$abcdefgh\n",
]
USERS = ["", "Deploy", "1x", "-x", "a" * 33, "a b", "a:b", "root\n", "a/b"]
PACKAGES = ["", "-nginx", "ngi nx", "nginx;rm", "$(id)", "@", "nginx\n", "a/b", "--help"]
ZONES = ["", "Europe/", "/Europe", "../etc/passwd", "Europe/Ams terdam", "a/b/c/d", "Etc/UTC\n", "1/2"]
SHELLS = ["bash", "/bin/../bash", "/bin/ba sh", "/bin//bash", "/bin/bash\n", "/bin/bash;id", ""]
KEYS = ["", "ssh-dss AAAA", "ssh-ed25519", KEY + "\nssh-rsa AAAA", KEY + "\n", "ssh-ed25519 not-base64", "command"]
TEXTS = ["a\nb", "a\x00", "a\x1b[31m", "a\x7f", "a\x85", "a\n"]

AT_VALUE: list[tuple[str, Any, str]] = [
    *[(f"name {value!r}", host() | {"metadata": {"name": value, "tenant": "shop"}}, "/metadata/name") for value in NAMES],
    *[(f"tenant {value!r}", host(tenant=value), "/metadata/tenant") for value in NAMES],
    *[(f"profile {value!r}", host({"profile": value}), "/spec/profile") for value in [*NAMES, "lab/x", 7, None, ["a"]]],
    *[(f"role {value!r}", host({"roles": ["a", value]}), "/spec/roles/1") for value in NAMES],
    *[(f"mac {value!r}", nic(mac=value), "/spec/interfaces/0/mac") for value in MACS],
    *[(f"address {value!r}", nic(address=value), "/spec/interfaces/0/address") for value in ADDRESSES],
    *[(f"cidr {value!r}", other("Network", {"cidr": value}), "/spec/cidr") for value in CIDRS],
    *[(f"size {value!r}", disk({"mount": "/", "size": value}), "/spec/disk/partitions/0/size") for value in [*SIZES, 20]],
    *[(f"mount {value!r}", disk({"mount": value, "size": "rest"}), "/spec/disk/partitions/0/mount") for value in ["", "var", "/a/../b", "SWAP", "/\n", "/a/"]],
    *[(f"url {value!r}", host({"install": {"source": value}}), "/spec/install/source") for value in URLS],
    *[(f"playbook {value!r}", other("Role", {"ansible": {"playbook": value}}), "/spec/ansible/playbook") for value in PATHS],
    *[(f"template {value!r}", host({"templates": {"ipxe": value}}), "/spec/templates/ipxe") for value in PATHS],
    *[(f"hash {value!r}", user(hashed_passwd=value), "/spec/users/0/hashed_passwd") for value in [*HASHES, 7, None, {}, [KEY]]],
    *[(f"user {value!r}", host({"users": [{"name": value}]}), "/spec/users/0/name") for value in USERS],
    *[(f"package {value!r}", host({"packages": [value]}), "/spec/packages/0") for value in PACKAGES],
    *[(f"zone {value!r}", host({"timezone": value}), "/spec/timezone") for value in ZONES],
    *[(f"shell {value!r}", user(shell=value), "/spec/users/0/shell") for value in SHELLS],
    *[(f"key {value!r}", user(ssh_authorized_keys=[value]), "/spec/users/0/ssh_authorized_keys/0") for value in KEYS],
    *[(f"gecos {value!r}", user(gecos=value), "/spec/users/0/gecos") for value in [*TEXTS, "a:b"]],
    *[(f"sudo {value!r}", user(sudo=[value]), "/spec/users/0/sudo/0") for value in [*TEXTS, ""]],
    *[(f"display name {value!r}", other("Tenant", {"displayName": value}), "/spec/displayName") for value in TEXTS],
    *[(f"kernel argument {value!r}", host({"kernel_args": [value]}), "/spec/kernel_args/0") for value in [*TEXTS, "", "a b", "ä"]],
    *[(f"device {value!r}", host({"disk": {"device": value}}), "/spec/disk/device") for value in ["sda", "/dev/", "/dev/../sda", "/dev/sda\n", "/tmp/x"]],
    *[(f"domain {value!r}", host({"domain": value}), "/spec/domain") for value in ["", "Example.com", "example.com.", "a..b", "-a.b", "192.0.2.1", "a_b.c", "a\n"]],
    *[(f"server {value!r}", host({"ntp": {"servers": [value]}}), "/spec/ntp/servers/0") for value in ["", "192.0.2.300", "ntp 1", "http://x", "a\n"]],
    *[(f"locale {value!r}", host({"locale": value}), "/spec/locale") for value in ["", "en_us", "en_US.UTF-8\n", "en_US.UTF-8;id", "../x"]],
    *[(f"version {value!r}", host({"os": {"version": value}}), "/spec/os/version") for value in [12, 24.04, "", "bookworm", "12\n", "1.2.3.4"]],
    *[(f"label {value!r}", host(labels={"a": value}), "/metadata/labels/a") for value in [7, True, None, "-a", "a b", "a" * 64, "a\n"]],
    *[(f"label key {value!r}", host(labels={value: "a"}), "/metadata/labels") for value in ["", "-a", "a b", "/a", "a/", "a/b/c", "A.B/c", "a\n"]],
    *[(f"variable {value!r}", host({"vars": {value: 1}}), "/spec/vars") for value in ["", "1a", "a-b", "a.b", "a b", "a\n", "ä"]],
    *[(f"names {value!r}", generated(names=value), "/spec/generate/names") for value in ["w", "%d%d", "w-%s", "W%d", "w-%d-", "-%d", "%%d", "%2d", "%d\n"]],
    *[(f"expiry {value!r}", other("Fleet", {"planExpiry": value}), "/spec/planExpiry") for value in ["", "0h", "24", 24, "1w", "1h30m", "24h\n"]],
    *[(f"moved {value!r}", host(moved={"from": value}), "/metadata/moved/from") for value in ["", "a/b/c", "/a", "a/", "A", "a\n"]],
    *[(f"tag {value!r}", other("Role", {"ansible": {"playbook": "a", "tags": [value]}}), "/spec/ansible/tags/0") for value in ["", "a,b", "--x", "a\n"]],
    *[(f"uid {value!r}", user(uid=value), "/spec/users/0/uid") for value in [0, -1, 2**31, "7", 7.5, True]],
    *[(f"mtu {value!r}", nic(mtu=value), "/spec/interfaces/0/mtu") for value in [0, 67, 65536, "1500"]],
    *[(f"vlan {value!r}", other("Network", {"cidr": "192.0.2.0/24", "vlan": value}), "/spec/vlan") for value in [0, 4095, "7"]],
    *[(f"generation {value!r}", host({"install": {"generation": value}}), "/spec/install/generation") for value in [-1, "1", None, True, 0.5]],
    *[(f"protect {value!r}", host({"protect": value}), "/spec/protect") for value in ["true", 1, 0, None]],
    *[(f"percent {value!r}", other("Fleet", {"guards": {"maxDeletePercent": value}}), "/spec/guards/maxDeletePercent") for value in [-1, 101, "10", 1.5]],
    *[(f"number {value!r}", host({"vars": {"a": value}}), "/spec/vars/a") for value in [2**53, -(2**53), 1e300]],
    *[(f"variable's text {value!r}", host({"vars": {"a": [{"b": value}]}}), "/spec/vars/a/0/b") for value in ["\x00", "a\x1b", "\x85"]],
    *[(f"enum {key}", host(spec), f"/spec/{key}") for key, spec in {
        "os/distribution": {"os": {"distribution": "Debian"}},
        "os/architecture": {"os": {"architecture": "amd64"}},
        "firmware": {"firmware": "UEFI"},
        "disk/layout": {"disk": {"layout": "zfs"}},
    }.items()],
    ("api version", host() | {"apiVersion": "octofleet/v2"}, "/apiVersion"),
    ("kind of another schema", host() | {"kind": "Profile"}, "/kind"),
    ("onDelete", host(onDelete="keep"), "/metadata/onDelete"),
]  # fmt: skip

AT_MAP: list[tuple[str, Any, str]] = [
    ("no tenant on a host", host() | {"metadata": {"name": "a"}}, "/metadata"),
    ("no tenant on a host set", members(members=[{"name": "a"}]) | {"metadata": {"name": "a"}}, "/metadata"),
    ("a tenant on a fleet", other("Fleet", {}, tenant="shop"), "/metadata"),
    ("a tenant on a tenant", other("Tenant", {}, tenant="shop"), "/metadata"),
    ("no name", host() | {"metadata": {"tenant": "shop"}}, "/metadata"),
    ("no spec", {key: value for key, value in host().items() if key != "spec"}, ""),
    ("an empty spec", host() | {"spec": None}, "/spec"),
    ("no cidr", other("Network", {}), "/spec"),
    ("a user without a name", host({"users": [{"uid": 7}]}), "/spec/users/0"),
    ("a partition without a size", disk({"mount": "/"}), "/spec/disk/partitions/0"),
    ("an empty match", host({"disk": {"match": {}}}), "/spec/disk/match"),
    ("device and match", host({"disk": {"device": "/dev/vda", "match": {"ssd": True}}}), "/spec/disk/match"),
    ("neither members nor generate", members(), "/spec"),
    ("members and generate", members(members=[{"name": "a"}], generate={"names": "%d", "count": 1}), "/spec/generate"),
    ("no members", members(members=[]), "/spec/members"),
    ("no template", other("HostSet", {"members": [{"name": "a"}]}, tenant="shop"), "/spec"),
    ("an address without a network", generated(interface={"name": "eth0", "firstAddress": "192.0.2.1"}), "/spec/generate/interface"),
    ("no playbook", other("Role", {"ansible": {}}), "/spec/ansible"),
    ("a role twice", host({"roles": ["a", "a"]}), "/spec/roles"),
    ("a secret with something beside it", host({"vars": {"a": SECRET | {"b": 1}}}), "/spec/vars/a"),
    ("a secret without a key", host({"vars": {"a": {"secretRef": {"store": "a"}}}}), "/spec/vars/a/secretRef"),
    ("a secret that is text", host({"vars": {"a": {"secretRef": "a/b"}}}), "/spec/vars/a/secretRef"),
    ("a secret's key that climbs", host({"vars": {"a": {"secretRef": {"store": "a", "key": "../b"}}}}), "/spec/vars/a/secretRef/key"),
    ("a reserved key", host({"vars": {"a": {"$octofleet.secret": 1}}}), "/spec/vars/a/$octofleet.secret"),
    ("two secrets in one password", user(hashed_passwd=SECRET | VAULT), "/spec/users/0/hashed_passwd"),
    ("a secret where none may be", host({"timezone": SECRET}), "/spec/timezone"),
    ("a vault value where none may be", host({"install": {"source": VAULT}}), "/spec/install/source"),
    ("vault text that is not", user(hashed_passwd={"$octofleet.vault": "x"}), "/spec/users/0/hashed_passwd/$octofleet.vault"),
    ("power, which comes later", host({"power": {}}), "/spec"),
    ("extends on a host", host({"extends": "a"}), "/spec"),
    ("roles on a profile", other("Profile", {"roles": ["a"]}), "/spec"),
    ("a list of documents", [host()], ""),
]


@pytest.mark.parametrize(("document", "pointer"), [pytest.param(document, at, id=name) for name, document, at in AT_VALUE + AT_MAP])
def test_it_is_refused_where_it_is_wrong(document: Any, pointer: str) -> None:
    kind = document["kind"] if isinstance(document, dict) and pointer != "/kind" else "Host"
    assert pointers(kind, document) == {pointer}


def test_the_pattern_of_these_cases_is_valid_without_the_mistake() -> None:
    for document in (
        *(host(), disk({"mount": "/", "size": "rest"}), nic(mac="52:54:00:aa:00:01", address="2001:db8::1"), user(hashed_passwd=SECRET)),
        *(
            user(hashed_passwd=VAULT),
            generated(),
            members(members=[{"name": "a"}]),
            other("Fleet", {}),
            other("Tenant", {}),
            other("Role", {}),
        ),
        *(
            host({"vars": {"a": [{"b": SECRET}, None, 1.5, "a\n\tb"], "c": VAULT}}),
            host(labels={"a": ""}),
            host({"disk": {"layout": "lvm"}}),
        ),
        *(user(ssh_authorized_keys=[f'from="192.0.2.0/24" {KEY}']), host({"install": {"source": "https://[2001:db8::1]:8443/x?y=z"}})),
    ):
        assert pointers(document["kind"], document) == set()


def maps(node: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path to every map of a document that is not free-form."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from maps(item, (*at, index))
    elif isinstance(node, dict) and not {"labels", "annotations", "vars"} & set(at):
        yield at
        for key, child in node.items():
            yield from maps(child, (*at, key))


SAMPLES = samples()


@pytest.mark.parametrize(
    "document", SAMPLES, ids=[f"{document['kind']}-{document['metadata']['name']}-{i}" for i, document in enumerate(SAMPLES)]
)
def test_an_unknown_key_is_refused_in_every_map_that_is_not_free_form(document: Any) -> None:
    for way in maps(document):
        broken = copy.deepcopy(document)
        node = broken
        for key in way:
            node = node[key]
        node["bogus"] = 1
        assert pointers(document["kind"], broken) == {"".join(f"/{part}" for part in way)}


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_what_is_no_map_at_all_is_refused(kind: str) -> None:
    for document in (None, [], "text", 7, True):
        assert pointers(kind, document) == {""}
