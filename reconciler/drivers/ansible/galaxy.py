"""Collections and roles of a project's requirements, installed by `ansible-galaxy` into a cache that runs only read.

In: an exported project, the servers that the settings allow, and a way to export commits of other repositories. Out: directories for
ANSIBLE_COLLECTIONS_PATH and ANSIBLE_ROLES_PATH. An entry of the cache is known by the digest of what determines it; it is made beside its
place and renamed, by one process at a time; each use compares every file with the checksums of the installation, and what is not the same is
installed anew. Git is never run by ansible-galaxy: commits come through `export_from`. What a collection depends on has to be required
too. Must not: run what it installs.
"""

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from reconciler.drivers.ansible.cached import is_as_installed, locked, prune, remove, seal
from reconciler.drivers.ansible.confined import Ended, run
from reconciler.drivers.ansible.isolation import Sight, why_not
from reconciler.drivers.ansible.process import Command
from reconciler.drivers.ansible.programs import environment_of, needed
from reconciler.drivers.ansible.requirements import CODE, Entry, How, requirements
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.events import happened
from reconciler.types.canonical import digest

PROGRAM = "ansible-galaxy"
FORMAT = 1
LIMIT_S = 600.0
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
_AWAY = (
    "urlopen error",
    "timed out",
    "connection refused",
    "http code: 5",
    "unknown error when attempting to call galaxy",
    "name resolution",
)

ExportFrom = Callable[[str, str, str, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What a run adds to its paths. `directory` has both."""

    directory: Path

    @property
    def collections(self) -> Path:
        """For ANSIBLE_COLLECTIONS_PATH."""
        return self.directory / "collections"

    @property
    def roles(self) -> Path:
        """For ANSIBLE_ROLES_PATH."""
        return self.directory / "roles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Galaxy:
    """`directory`: the cache. `servers`: the URLs that entries without a source are looked for at, in this order, and that a source may be one of."""

    directory: Path
    servers: Sequence[str] = ()

    def installed(self, project: Path, told_as: str, export_from: ExportFrom, *, until: float) -> Installed | None:
        """What an exported project requires; None if that is nothing. The network is used only for what the cache lacks, up to `until`
        (`time.monotonic()` seconds). Raises `Permanent` for requirements that are not pinned or cannot be installed, `RetryLater` where a server is away."""
        entries = requirements(project, told_as)
        if not entries:
            return None
        servers = {entry.name: self._servers(entry) for entry in entries if entry.how is How.GALAXY}
        key = _key(entries, project, servers)
        path = self.directory / key
        with self._locked(key):
            changed = path.exists() and not is_as_installed(path)
            if changed:
                happened("ansible-cache-changed", entry=key)
                remove(path)
            if not path.exists():
                self._install(path, entries, project, servers, export_from, until)
        prune(self.directory, keep=key)
        return Installed(directory=path)

    def _servers(self, entry: Entry) -> Sequence[str]:
        if not self.servers:
            hint = "whoever runs the server can name one in ansible.galaxy in the settings; or commit the collection's artifact"
            raise Permanent(f"{entry.origin}: the settings allow no Galaxy server", hint=hint, code="galaxy-not-allowed")
        if not entry.source:
            return self.servers
        if entry.source.rstrip("/") not in {server.rstrip("/") for server in self.servers}:
            hint = "leave out source, or have it added to ansible.galaxy in the settings"
            raise Permanent(
                f"{entry.origin}: the settings do not allow the server {entry.source[:200]}", hint=hint, code="galaxy-not-allowed"
            )
        return (entry.source,)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.directory, key))
            except OSError as error:
                raise Permanent(
                    f"cannot write to {self.directory}: {error.strerror}", hint="make it writable", code="galaxy-cache"
                ) from error
            yield

    def _install(
        self, path: Path, entries: Sequence[Entry], project: Path, servers: dict[str, Sequence[str]], export_from: ExportFrom, until: float
    ) -> None:
        for left in self.directory.glob(f".new-{path.name}-*"):
            remove(left)
        try:
            made = Path(tempfile.mkdtemp(prefix=f".new-{path.name}-", dir=self.directory))
            try:
                _Installation(made, project, servers, export_from, until).go(entries)
                remove(made / "work")
                seal(made)
                try:
                    made.rename(path)
                except OSError:
                    if not path.exists():  # else somebody else was first, with the same
                        raise
            finally:
                remove(made)
        except OSError as error:
            raise Permanent(
                f"cannot install requirements: {error}", hint="free some space in the data directory", code="galaxy-cache"
            ) from error
        happened("ansible-requirements-installed", entry=path.name, number=len(entries))


def galaxy_of(data_dir: Path, servers: Sequence[str]) -> Galaxy:
    """With its cache in the data directory."""
    return Galaxy(directory=data_dir / "galaxy", servers=servers)


@dataclass(frozen=True, slots=True)
class _Installation:
    """One installation in a new directory, whose part `work` is for ansible-galaxy's own files."""

    made: Path
    project: Path
    servers: dict[str, Sequence[str]]
    export_from: ExportFrom
    until: float

    def go(self, entries: Sequence[Entry]) -> None:
        for name in ("collections", "roles", "work", "work/home", "work/home/tmp", "work/sources"):
            (self.made / name).mkdir(mode=0o700)
        urls = list(dict.fromkeys(url for some in self.servers.values() for url in some))
        self._write_config(urls)
        named = {url: f"server{number}" for number, url in enumerate(urls)}
        wanted: dict[str, list[dict[str, str]]] = {"collections": [], "roles": []}
        for number, entry in enumerate(entries):
            wanted[entry.kind].append(self._wanted(entry, number, named))
        for kind, rows in wanted.items():
            if rows:
                self._run(kind, rows, network=any(row.get("type") == "galaxy" for row in rows))
        _check_dependencies(self.made / "collections", self.project / "collections")

    def _write_config(self, urls: Sequence[str]) -> None:
        lines = ["[galaxy]", "server_list = " + ",".join(f"server{number}" for number in range(len(urls)))]
        for number, url in enumerate(urls):
            lines += ["", f"[galaxy_server.server{number}]", f"url = {url}"]
        (self.made / "work" / "ansible.cfg").write_text("\n".join(lines if urls else []) + "\n")

    def _wanted(self, entry: Entry, number: int, named: dict[str, str]) -> dict[str, str]:
        """As ansible-galaxy gets it: with local files and directories in place of what Octofleet fetches itself."""
        source = self.made / "work" / "sources" / str(number)
        if entry.how is How.GALAXY:
            row = {"name": entry.name, "version": entry.version, "type": "galaxy"}
            return row | ({"source": named[entry.source]} if entry.source else {})
        if entry.how is How.FILE:
            source = source.with_suffix(".tar.gz")
            shutil.copyfile(self.project / entry.path, source)
        else:
            try:
                self.export_from(entry.source, entry.version, entry.path, source)
            except RetryLater as error:
                raise RetryLater(f"{entry.origin}: {error.message}", after_s=error.after_s, hint=error.hint, code=error.code) from error
            except OctofleetError as error:
                raise Permanent(f"{entry.origin}: {error.message}", hint=error.hint, code=error.code) from error
        if entry.kind == "collections":
            return {"name": str(source), "type": "dir" if entry.how is How.GIT else "file"}
        return {"src": str(_archive(source) if entry.how is How.GIT else source), "name": entry.name}

    def _run(self, kind: str, rows: Sequence[dict[str, str]], *, network: bool) -> None:
        work = self.made / "work"
        file = work / f"{kind}.yml"
        file.write_bytes(msgspec.json.encode({kind: rows} if kind == "collections" else rows))
        program = needed(PROGRAM)
        line = [program, kind.removesuffix("s"), "install", "--no-deps", "-r", str(file), "-p", str(self.made / kind)]
        if kind == "collections":
            line += ["--no-cache", *([] if network else ["--offline"])]
        environment = environment_of(program, work / "home") | {
            "ANSIBLE_CONFIG": str(work / "ansible.cfg"),
            "ANSIBLE_GALAXY_DISPLAY_PROGRESS": "0",
        }
        environment |= {name: os.environ[name] for name in PROXIES if name in os.environ}
        limit = min(LIMIT_S, self.until - time.monotonic())
        sight = Sight(writable=(self.made,), network=network) if not why_not() else None
        ended = run(Command(line=line, environment=environment, directory=work, sight=sight), limit_s=limit)
        if ended.code != 0:
            raise _failure(ended, self.made)


def _archive(directory: Path) -> Path:
    """A role's directory as ansible-galaxy installs one."""
    made = directory.with_suffix(".tar.gz")
    with tarfile.open(made, "w:gz") as file:
        file.add(directory, arcname="role")
    return made


def _key(entries: Sequence[Entry], project: Path, servers: dict[str, Sequence[str]]) -> str:
    rows = []
    for entry in entries:
        artifact = hashlib.sha256((project / entry.path).read_bytes()).hexdigest() if entry.how is How.FILE else ""
        where = list(servers.get(entry.name, ())) or [entry.source]
        rows.append([entry.kind, entry.how.value, entry.name, entry.version, where, entry.path, artifact])
    return digest({"format": FORMAT, "ansible": core_version(needed(PROGRAM)), "entries": sorted(rows)})[:40]


@cache
def core_version(program: str) -> str:
    """The version of ansible-core that a program belongs to. Raises `Permanent`."""
    with tempfile.TemporaryDirectory() as home:
        ended = run(Command(line=[program, "--version"], environment=environment_of(program, Path(home)), directory=Path(home)), limit_s=60)
    told = re.search(r"\[core ([^\]]+)\]", ended.output)
    if told is None:
        raise Permanent(f"{program} does not tell its version", hint="install ansible-core anew", code="ansible-missing")
    return told[1]


def _failure(ended: Ended, made: Path) -> OctofleetError:
    if ended.stopped:
        return RetryLater(
            "ansible-galaxy took too long, or said too much", after_s=60, hint="look at the server's answers", code="galaxy-timeout"
        )
    text = ended.output.replace(f"{made}/", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith(("ERROR!", "[ERROR]"))), lines[-1] if lines else "it said nothing")
    message = f"the requirements could not be installed: {re.sub(r'^(ERROR!|.ERROR.:?) *', '', reason)[:500]}"
    if any(word in text.lower() for word in _AWAY):
        return RetryLater(
            message, after_s=30, hint="check the servers of ansible.galaxy; what is in the cache needs none", code="galaxy-unreachable"
        )
    return Permanent(message, hint="correct the requirements, or what they name", code="galaxy-failed")


class _Info(msgspec.Struct):
    dependencies: dict[str, str] | None = None


class _Manifest(msgspec.Struct):
    """Of MANIFEST.json of a collection, what is read here."""

    collection_info: _Info


def _check_dependencies(installed: Path, own: Path) -> None:
    """Raises `Permanent` if a collection needs another that is neither installed with it nor the project's: what is not required here is not pinned."""
    there = {f"{path.parent.name}.{path.name}": path for place in (own, installed) for path in place.glob("ansible_collections/*/*")}
    for file in sorted(installed.glob("ansible_collections/*/*/MANIFEST.json")):
        name = f"{file.parent.parent.name}.{file.parent.name}"
        try:
            needs = msgspec.json.decode(file.read_bytes(), type=_Manifest).collection_info.dependencies or {}
        except msgspec.MsgspecError as error:
            hint = "build it anew with ansible-galaxy collection build"
            raise Permanent(f"MANIFEST.json of the collection {name} cannot be read: {error}", hint=hint, code="galaxy-failed") from error
        for other, version in sorted(needs.items()):
            if other not in there and other != "ansible.builtin":
                hint = f"add {other} with an exact version to the requirements"
                raise Permanent(f"the collection {name} needs {other} ({version}), which is not required", hint=hint, code=CODE)
