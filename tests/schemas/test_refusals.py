"""What the schemas refuse, and that the problem points at the value that is wrong."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import schemas
from tests.schemas.documents import pointers, samples

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0ckZ58OafDbEGEvbn/ndlcSVWcsVez3Dqq+6OeYZA1 ops@example.net"
SECRET = {"secretRef": {"store": "shop-secrets", "key": "app_token"}}
OTHER = "https://git.example.net/ansible/web.git"
VAULT = {"$octofleet.vault": "$ANSIBLE_VAULT;1.1;AES256\n6261736536340a\n"}


def host(spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "octofleet/v1", "kind": "Host", "metadata": {"name": "web-01", "tenant": "shop", **metadata}, "spec": spec or {}}


def other(kind: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "octofleet/v1", "kind": kind, "metadata": {"name": "x", **metadata}, "spec": spec}


def ansible(**spec: Any) -> dict[str, Any]:
    return other("Role", {"ansible": spec})


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

MOUNTS = ["", "var", "/a/../b", "SWAP", "/\n", "/a/"]
DEVICES = ["sda", "/dev/", "/dev/../sda", "/dev/sda\n", "/tmp/x"]
DOMAINS = ["", "Example.com", "example.com.", "a..b", "-a.b", "192.0.2.1", "a_b.c", "a\n"]
NUMBERED = ["w", "%d%d", "w-%s", "W%d", "w-%d-", "-%d", "%%d", "%2d", "%d\n"]
URLS_OF_GIT = (
    "",
    "web",
    "/srv/web.git",
    "ext::sh -c x",
    "https://git.example.net/a?b=c",
    "-oProxyCommand=x:y",
    "https://git.example.net/a b",
)
TAGS = ["", "a,b", "--x", "a\n"]
PERCENTS = [-1, 101, "10", 1.5]

EACH: list[tuple[str, Callable[[Any], Any], str, list[Any]]] = [
    ("name", lambda value: host() | {"metadata": {"name": value, "tenant": "shop"}}, "/metadata/name", NAMES),
    ("tenant", lambda value: host(tenant=value), "/metadata/tenant", NAMES),
    ("profile", lambda value: host({"profile": value}), "/spec/profile", [*NAMES, "lab/x", 7, None, ["a"]]),
    ("role", lambda value: host({"roles": ["a", value]}), "/spec/roles/1", NAMES),
    ("mac", lambda value: nic(mac=value), "/spec/interfaces/0/mac", MACS),
    ("address", lambda value: nic(address=value), "/spec/interfaces/0/address", ADDRESSES),
    ("cidr", lambda value: other("Network", {"cidr": value}), "/spec/cidr", CIDRS),
    ("size", lambda value: disk({"mount": "/", "size": value}), "/spec/disk/partitions/0/size", [*SIZES, 20]),
    ("mount", lambda value: disk({"mount": value, "size": "rest"}), "/spec/disk/partitions/0/mount", MOUNTS),
    ("url", lambda value: host({"install": {"source": value}}), "/spec/install/source", URLS),
    ("bmc", lambda value: host({"bmc": {"url": value}}), "/spec/bmc/url", [*URLS, "http://bmc-01.example.net", "https://bmc-01.example.net/redfish"]),
    ("bmc user", lambda value: host({"bmc": {"username": value}}), "/spec/bmc/username", [*TEXTS, "", "a:b"]),
    ("bmc password", lambda value: host({"bmc": {"password": value}}), "/spec/bmc/password", ["in the clear", 7, None, {}]),
    ("fingerprint", lambda value: host({"bmc": {"fingerprint": value}}), "/spec/bmc/fingerprint", ["", "ab" * 31, "ab" * 33, "g" * 64]),
    ("playbook", lambda value: other("Role", {"ansible": {"playbook": value}}), "/spec/ansible/playbook", PATHS),
    ("template", lambda value: host({"templates": {"ipxe": value}}), "/spec/templates/ipxe", PATHS),
    ("hash", lambda value: user(hashed_passwd=value), "/spec/users/0/hashed_passwd", [*HASHES, 7, None, {}, [KEY]]),
    ("user", lambda value: host({"users": [{"name": value}]}), "/spec/users/0/name", USERS),
    ("package", lambda value: host({"packages": [value]}), "/spec/packages/0", PACKAGES),
    ("zone", lambda value: host({"timezone": value}), "/spec/timezone", ZONES),
    ("shell", lambda value: user(shell=value), "/spec/users/0/shell", SHELLS),
    ("key", lambda value: user(ssh_authorized_keys=[value]), "/spec/users/0/ssh_authorized_keys/0", KEYS),
    ("gecos", lambda value: user(gecos=value), "/spec/users/0/gecos", [*TEXTS, "a:b"]),
    ("sudo", lambda value: user(sudo=[value]), "/spec/users/0/sudo/0", [*TEXTS, ""]),
    ("display name", lambda value: other("Tenant", {"displayName": value}), "/spec/displayName", TEXTS),
    ("kernel argument", lambda value: host({"kernel_args": [value]}), "/spec/kernel_args/0", [*TEXTS, "", "a b", "ä"]),
    ("device", lambda value: host({"disk": {"device": value}}), "/spec/disk/device", DEVICES),
    ("domain", lambda value: host({"domain": value}), "/spec/domain", DOMAINS),
    ("server", lambda value: host({"ntp": {"servers": [value]}}), "/spec/ntp/servers/0", ["", "192.0.2.300", "ntp 1", "http://x", "a\n"]),
    ("locale", lambda value: host({"locale": value}), "/spec/locale", ["", "en_us", "en_US.UTF-8\n", "en_US.UTF-8;id", "../x"]),
    ("version", lambda value: host({"os": {"version": value}}), "/spec/os/version", [12, 24.04, "", "bookworm", "12\n", "1.2.3.4"]),
    ("label", lambda value: host(labels={"a": value}), "/metadata/labels/a", [7, True, None, "-a", "a b", "a" * 64, "a\n"]),
    ("label key", lambda value: host(labels={value: "a"}), "/metadata/labels", ["", "-a", "a b", "/a", "a/", "a/b/c", "A.B/c", "a\n"]),
    ("variable", lambda value: host({"vars": {value: 1}}), "/spec/vars", ["", "1a", "a-b", "a.b", "a b", "a\n", "ä"]),
    ("names", lambda value: generated(names=value), "/spec/generate/names", NUMBERED),
    ("expiry", lambda value: other("Fleet", {"planExpiry": value}), "/spec/planExpiry", ["", "0h", "24", 24, "1w", "1h30m", "24h\n"]),
    ("moved", lambda value: host(moved={"from": value}), "/metadata/moved/from", ["", "a/b/c", "/a", "a/", "A", "a\n"]),
    ("url", lambda value: ansible(playbook="a", repository={"url": value, "commit": "a" * 40}), "/spec/ansible/repository/url", URLS_OF_GIT),
    ("tag", lambda value: other("Role", {"ansible": {"playbook": "a", "tags": [value]}}), "/spec/ansible/tags/0", TAGS),
    ("uid", lambda value: user(uid=value), "/spec/users/0/uid", [0, -1, 2**31, "7", 7.5, True]),
    ("mtu", lambda value: nic(mtu=value), "/spec/interfaces/0/mtu", [0, 67, 65536, "1500"]),
    ("vlan", lambda value: other("Network", {"cidr": "192.0.2.0/24", "vlan": value}), "/spec/vlan", [0, 4095, "7"]),
    ("generation", lambda value: host({"install": {"generation": value}}), "/spec/install/generation", [-1, "1", None, True, 0.5]),
    ("protect", lambda value: host({"protect": value}), "/spec/protect", ["true", 1, 0, None]),
    ("percent", lambda value: other("Fleet", {"guards": {"maxDeletePercent": value}}), "/spec/guards/maxDeletePercent", PERCENTS),
    ("number", lambda value: host({"vars": {"a": value}}), "/spec/vars/a", [2**53, -(2**53), 1e300]),
    ("variable's text", lambda value: host({"vars": {"a": [{"b": value}]}}), "/spec/vars/a/0/b", ["\x00", "a\x1b", "\x85"]),
    ("distribution", lambda value: host({"os": {"distribution": value}}), "/spec/os/distribution", ["Debian", "arch", "", None]),
    ("architecture", lambda value: host({"os": {"architecture": value}}), "/spec/os/architecture", ["amd64", "X86_64"]),
    ("firmware", lambda value: host({"firmware": value}), "/spec/firmware", ["UEFI", "efi", True]),
    ("layout", lambda value: host({"disk": {"layout": value}}), "/spec/disk/layout", ["zfs", ""]),
    ("api version", lambda value: host() | {"apiVersion": value}, "/apiVersion", ["octofleet/v2", "v1", 1, None]),
    ("on delete", lambda value: host(onDelete=value), "/metadata/onDelete", ["keep", "Delete", None]),
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
    ("playbook and roles", ansible(playbook="a/b.yml", roles=[{"name": "x"}]), "/spec/ansible/roles"),
    ("playbook and another", ansible(playbook="a/b.yml", collectionPlaybook="a.b.c"), "/spec/ansible/collectionPlaybook"),
    ("roles and another", ansible(roles=[{"name": "x"}], project="a", collectionPlaybook="a.b.c"), "/spec/ansible/collectionPlaybook"),
    ("a workflow and a playbook", ansible(workflow="Patch", playbook="a/b.yml"), "/spec/ansible/playbook"),
    ("a workflow and tags", ansible(workflow="Patch", tags=["a"]), "/spec/ansible/tags"),
    ("a workflow of two lines", ansible(workflow="Patch\n"), "/spec/ansible/workflow"),
    ("roles of nowhere", ansible(roles=[{"name": "x"}]), "/spec/ansible"),
    ("no roles", ansible(roles=[], project="a"), "/spec/ansible/roles"),
    ("a repository at a branch", ansible(playbook="a.yml", repository={"url": OTHER, "commit": "main"}), "/spec/ansible/repository/commit"),
    ("a repository at no commit", ansible(playbook="a.yml", repository={"url": OTHER}), "/spec/ansible/repository"),
    ("a short commit", ansible(playbook="a.yml", repository={"url": OTHER, "commit": "4f1c0a92be"}), "/spec/ansible/repository/commit"),
    (
        "a secret in a role",
        ansible(roles=[{"name": "x", "vars": {"a": [SECRET]}}], project="a"),
        "/spec/ansible/roles/0/vars/a/0/secretRef",
    ),
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
]


@pytest.mark.parametrize(
    ("build", "pointer", "value"),
    [pytest.param(build, at, value, id=f"{name} {value!r}") for name, build, at, values in EACH for value in values],
)
def test_a_value_is_refused_at_its_own_place(build: Callable[[Any], Any], pointer: str, value: Any) -> None:
    document = build(value)
    assert pointers(document["kind"], document) == {pointer}


@pytest.mark.parametrize(("document", "pointer"), [pytest.param(document, at, id=name) for name, document, at in AT_MAP])
def test_a_document_is_refused_where_it_is_wrong(document: Any, pointer: str) -> None:
    assert pointers(document["kind"], document) == {pointer}


@pytest.mark.parametrize("kind", ["Profile", "Provider", "host", None])
def test_a_kind_that_is_not_the_schemas_own_is_refused(kind: Any) -> None:
    assert pointers("Host", host() | {"kind": kind}) == {"/kind"}


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
    elif isinstance(node, dict) and not {"labels", "annotations", "vars", "before", "after", "byTenant"} & set(at):
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
