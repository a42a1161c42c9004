"""Seeded fleets of any size as bare Git repositories, written with `git fast-import`: the same number gives the same fleet."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

TENANTS, PROFILES, ROLES, NETWORKS = 10, 20, 40, 10
HEADER = "apiVersion: octofleet/v1\n"


def host(number: int, *, changed: bool = False) -> str:
    """One host: about 20 lines, static address, two roles, labels."""
    tenant, profile = number % TENANTS, number % PROFILES
    return f"""{HEADER}kind: Host
metadata:
  name: h{number:06d}
  tenant: t{tenant:02d}
  labels:
    site: s{number // 40 % 8}
    rack: r{number // 40:05d}
spec:
  profile: p{profile:02d}
  roles: [r{number % ROLES:02d}, r{(number * 7 + 3) % ROLES:02d}]
  timezone: {"Europe/Berlin" if changed else "Etc/UTC"}
  interfaces:
    - name: eno1
      mac: "52:54:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
      network: n{tenant:02d}
      address: 10.{tenant}.{number // TENANTS + 1 >> 8}.{number // TENANTS + 1 & 255}
      primary: true
  vars:
    rack_unit: {number % 42 + 1}
"""


def path_of(number: int) -> str:
    """Nested folders: site, rack, host."""
    return f"hosts/s{number // 40 % 8}/r{number // 40:05d}/h{number:06d}.yaml"


def shared_files() -> Iterator[tuple[str, str]]:
    """Everything but the hosts."""
    yield (
        "fleet.yaml",
        f"{HEADER}kind: Fleet\nmetadata: {{name: bench}}\nspec:\n  defaults:\n    locale: en_US.UTF-8\n    domain: example.net\n"
        '    keyboard: {layout: us}\n    boot: {url: "http://boot.example.net"}\n    ntp: {servers: [ntp1.example.net, ntp2.example.net]}\n',
    )
    for number in range(TENANTS):
        yield (
            f"tenants/t{number:02d}.yaml",
            f"{HEADER}kind: Tenant\nmetadata: {{name: t{number:02d}}}\nspec: {{displayName: Tenant {number}}}\n",
        )
        yield (
            f"networks/n{number:02d}.yaml",
            f"{HEADER}kind: Network\nmetadata: {{name: n{number:02d}, tenant: t{number:02d}}}\nspec:\n  cidr: 10.{number}.0.0/16\n"
            f"  gateway: 10.{number}.255.254\n  nameservers: [10.{number}.255.253]\n  search: [example.net]\n",
        )
    for number in range(PROFILES):
        yield f"profiles/p{number:02d}.yaml", profile(number)
    for number in range(ROLES):
        yield (
            f"roles/r{number:02d}.yaml",
            f"{HEADER}kind: Role\nmetadata: {{name: r{number:02d}}}\nspec:\n  packages: [role-{number}, common-{number % 7}]\n"
            f"  vars: {{role_{number}: {number}}}\n",
        )


def profile(number: int, *, changed: bool = False) -> str:
    """A profile; every tenth is the root that the next nine extend."""
    root = number - number % 10
    extends = "" if number == root else f"  extends: p{root:02d}\n"
    system = """  os: {distribution: debian, version: "12", architecture: x86_64}
  firmware: uefi
  disk: {device: /dev/sda, layout: lvm, partitions: [{mount: /, size: rest, filesystem: ext4}]}
  install: {generation: 1, source: "http://mirror.example.net/debian"}
  users: [{name: ops, groups: [sudo], shell: /bin/bash}]
"""
    kernel = "quiet, loglevel=3" if changed else "quiet"
    head = f"{HEADER}kind: Profile\nmetadata: {{name: p{number:02d}}}\nspec:\n"
    return f"{head}{extends}{'' if extends else system}  packages: [pkg-{number}]\n  kernel_args: [{kernel}]\n"


def make(hosts: int, into: Path) -> Path:
    """A bare repository with two commits on main: all hosts, then one host changed."""
    into.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", into], check=True)
    importer = subprocess.Popen(["git", "-C", into, "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert importer.stdin is not None
    write = importer.stdin.write

    def file(path: str, text: str) -> None:
        data = text.encode()
        write(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")

    write(b"commit refs/heads/main\nmark :1\ncommitter bench <bench@example.net> 1700000000 +0000\ndata 3\none\n")
    for path, text in shared_files():
        file(path, text)
    for number in range(hosts):
        file(path_of(number), host(number))
    write(b"commit refs/heads/main\nmark :2\ncommitter bench <bench@example.net> 1700000001 +0000\ndata 3\ntwo\nfrom :1\n")
    file(path_of(hosts // 2), host(hosts // 2, changed=True))
    importer.stdin.close()
    if importer.wait():
        raise SystemExit("git fast-import failed")
    subprocess.run(["git", "-C", into, "-c", "pack.threads=1", "gc", "--quiet"], check=True)
    return into
