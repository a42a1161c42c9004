"""What `octofleet doctor` finds of how machines are booted: where they are answered, what they are given, and what their installers trust."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from reconciler.boot.loaders import Missing, read_loaders
from reconciler.cli.doctor_http import certificate
from reconciler.cli.finding import FAILED, OK, WARNING, Finding, tried
from reconciler.errors import OctofleetError
from reconciler.report.view import counted
from reconciler.settings import Boot
from reconciler.settings_boot import listened, reached

FILES = 65_536
"""So many may be open: each TFTP transfer has a socket of its own."""


def boot_findings(boot: Boot) -> Iterator[Finding]:
    """How the settings have machines booted; nothing is asked of the network."""
    if not boot.served:
        return
    yield Finding("boot", OK, f"{reached('http', boot.listen, boot.url)} answers {', '.join(boot.networks)}")
    yield _installers(boot)
    if boot.tls_certificate:
        yield tried("boot certificate", lambda: certificate(boot, "boot certificate"))
    for name in ("ca_file", "bmc_ca_file"):
        if path := getattr(boot, name):
            yield tried(f"boot.{name}", lambda path=path: readable(Path(path)))  # type: ignore[misc]
    for name, host in (("tftp", (listened(boot.tftp) or ("", 0))[0]), ("dhcp", boot.dhcp)):
        if host:
            yield tried(f"boot.{name}", lambda name=name, host=host: _ours(name, host))  # type: ignore[misc]
    if boot.tftp or boot.dhcp:
        yield from _loaders(boot)
        yield _files()
    if boot.media:
        yield tried("boot.media", lambda: _directory(Path(boot.media)))


def _installers(boot: Boot) -> Finding:
    """Whether answer files with secrets have a safe way."""
    if boot.tls_listen:
        trust = "" if boot.ca_file else "; boot.ca_file is not set: installers have to know its CA themselves"
        return Finding("boot installers", OK, f"{reached('https', boot.tls_listen, boot.tls_url)}{trust}")
    hint = "set boot.tls_listen, boot.tls_certificate, boot.tls_key and boot.ca_file"
    if boot.secrets_over_http:
        return Finding("boot installers", WARNING, "answer files with secrets go over HTTP, and can be read on their way", hint)
    return Finding(
        "boot installers", WARNING, "there is no HTTPS for installers: hosts whose answer files hold secrets are not installed", hint
    )


def _ours(name: str, host: str) -> str:
    """An address of this machine."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        hint = f"set boot.{name} to an address that `ip address` shows"
        raise OctofleetError(f"{host} is no address of this machine: {error.strerror or error}", hint=hint) from error
    return host


def _loaders(boot: Boot) -> Iterator[Finding]:
    found = read_loaders(Path(boot.loaders) if boot.loaders else None)
    yield Finding("boot loaders", OK if found.files else FAILED, counted(len(found.files), "loader"), "apt-get install ipxe")
    for one in found.missing:
        if not one.optional:
            yield _missing(one)


def _missing(one: Missing) -> Finding:
    return Finding(f"loader {one.name}", WARNING, f"machines that need it do not boot: {one.text}", one.hint)


def _files() -> Finding:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    text = f"{most:,} may be open" if most != resource.RLIM_INFINITY else "no limit"
    few = 0 <= most < FILES
    hint = f"set LimitNOFILE={FILES} in the unit of octofleet serve, or ulimit -n {FILES}"
    return Finding("open files", WARNING if few else OK, f"{text}; many machines at once need more" if few else text, hint)


def _directory(path: Path) -> str:
    try:
        number = sum(1 for _ in os.scandir(path))
    except OSError as error:
        hint = "make it, readable for the user of octofleet serve, or correct boot.media"
        raise OctofleetError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    return f"{path}, {counted(number, 'name')} in it"


def readable(path: Path) -> str:
    """A file that can be read. Raises `OctofleetError`."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise OctofleetError(
            f"cannot read {path}: {error.strerror}", hint="correct the path in octofleet.toml or the file's mode"
        ) from error
    return str(path)
