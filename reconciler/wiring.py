"""The only place where parts are put together: settings and a data directory in, an installation out.

All state of a single-process installation lives under its data directory: two directories are two installations.
"""

import hashlib
import os
import re
import secrets as random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import schemas
from reconciler.arming import Arming
from reconciler.blobs.blob_store import BlobStore
from reconciler.blobs.directory import DirectoryBlobs
from reconciler.blobs.s3 import S3Blobs
from reconciler.desired.check import Checker
from reconciler.desired.contribution import Contract
from reconciler.drivers.boot import BootDriver
from reconciler.drivers.breaker import Breakers
from reconciler.drivers.driver import Context, Driver
from reconciler.drivers.fleet import FleetDriver
from reconciler.drivers.netboot import NetbootDriver
from reconciler.drivers.retry import Retries
from reconciler.drivers.wrap import Wrapped
from reconciler.errors import OctofleetError
from reconciler.events import happened
from reconciler.files import create_file, private_directory
from reconciler.index.file import Index
from reconciler.plugins import load_drivers
from reconciler.sandbox import Sandbox
from reconciler.secrets.configured import configured, stores_of
from reconciler.secrets.stores import SecretStores
from reconciler.settings import Settings, load_settings, said_at
from reconciler.settings_boot import reached, wrong_boot
from reconciler.settings_checked import Place
from reconciler.settings_forges import wrong_forges
from reconciler.settings_http import wrong_http
from reconciler.source.errors import strip_credentials, url_with_secret
from reconciler.source.git_program import Credentials
from reconciler.source.mirror import is_remote, open_repository
from reconciler.source.pinned import Pinned
from reconciler.source.repository import Repository
from reconciler.stages import stage
from reconciler.store.blobs import DatabaseBlobs
from reconciler.store.engine import Store, Unavailable, sqlite_url, url_problem
from reconciler.store.hosts import keep_told
from reconciler.trees import remove, temporary_directory
from reconciler.types.canonical import digest
from reconciler.types.kind import Kind
from reconciler.types.task import HostTold
from reconciler.types.values import UNKNOWN, SecretRef, SecretValue, Spec
from renderers.registry import RENDERERS

VERSION = "0.1.0"
CALL_DEADLINE_S = 1800.0
POWER_S = 300.0
INSTALL_MOST_S = 366 * 86_400.0
"""No step waits longer for a machine, whatever a manifest says."""
CONFIG = "octofleet.toml"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Everything of one installation, made when first needed. `of`: the one that it was made `apart` from."""

    data_dir: Path
    settings: Settings
    config: Path | None = None
    sandbox: Sandbox = field(default_factory=Sandbox)
    indexes: dict[str, Index] = field(default_factory=dict)
    of: "Installation | None" = None

    @cached_property
    def store(self) -> Store:
        """The database."""
        with stage("database"):
            return Store(self.settings.database_url or sqlite_url(self.data_dir))

    @cached_property
    def blobs(self) -> BlobStore:
        """Where archived logs and artifacts are kept. With PostgreSQL the data directory can be made again, so they are in the database then."""
        said = self.settings.blobs
        match said.store or ("database" if self.settings.database_url.startswith("postgres") else "directory"):
            case "s3":
                return S3Blobs(bucket=said.bucket, prefix=said.prefix, endpoint=said.endpoint, region=said.region)
            case "database":
                return DatabaseBlobs(store=self.store)
            case _:
                return DirectoryBlobs(directory=Path(said.directory) if said.directory else self.data_dir / "blobs")

    @cached_property
    def drivers(self) -> Mapping[str, Wrapped]:
        """Every driver by name, with what surrounds it."""
        with stage("drivers"):
            boot = BootDriver(directory=self.boot_dir, template=self.sandbox.render, served=self.boot_url)
            built: list[Driver] = [FleetDriver(), boot, *self._netboot(), *load_drivers(self.settings, self.data_dir)]
            return {driver.info.name: self._wrapped(driver) for driver in built}

    def _netboot(self) -> Iterator[Driver]:
        """Where machines are served, raising a generation installs them."""
        if self.settings.boot.served:
            yield NetbootDriver(installs=self.arming, most_s=INSTALL_MOST_S)

    @cached_property
    def arming(self) -> Arming:
        """What begins installations."""
        return Arming(store=self.store, key=lambda: self.key, within_s=self.settings.boot.install_s, begin=self._start)

    def _start(self, tenant: str, machine: Spec, asked_at: float) -> str:
        """Have a machine boot from the network, by its BMC or by waking it."""
        if "bmc" not in machine:
            return ""
        from reconciler.power.switch import boot_from_network_once, way_of  # noqa: PLC0415 - slow to import, and seldom needed

        way = way_of(machine, lambda secret: self.secrets.value(secret.ref, tenant), self._bmc_ca)
        if way is None:
            return ""
        said: list[str] = []
        boot_from_network_once(way, deadline=time.monotonic() + POWER_S, asked_at=asked_at, log=said.append)
        return "\n".join(said) or "its BMC has it boot from the network"

    @property
    def _bmc_ca(self) -> Path | None:
        return Path(self.settings.boot.bmc_ca_file) if self.settings.boot.bmc_ca_file else None

    def _wrapped(self, driver: Driver) -> Wrapped:
        chosen = self.settings.retry
        retries = Retries(attempts=chosen.attempts, budget_s=chosen.budget_s)
        breakers = Breakers(failures=chosen.breaker_failures, open_s=chosen.breaker_open_s, most_s=chosen.breaker_open_most_s)
        return Wrapped(driver=driver, retries=retries, breakers=breakers)

    @cached_property
    def kinds(self) -> Mapping[tuple[str, str], Kind]:
        """Every kind of every driver."""
        return {(name, kind.name): kind for name, driver in self.drivers.items() for kind in driver.info.kinds}

    @cached_property
    def contract(self) -> Contract:
        """What manifests are checked and merged by."""
        kinds = dict.fromkeys(schemas.KINDS) | dict(schemas.PLANNED)
        with stage("schemas"):
            return Contract(kinds=kinds, check=Checker(read=True), rules=schemas.merge_rules(), digest=self._makers())

    def _makers(self) -> str:
        """What resources depend on besides the commit: the drivers and renderers, with their versions."""
        drivers = [[name, driver.info.version, *sorted(map(repr, driver.info.kinds))] for name, driver in self.drivers.items()]
        renderers = [[r.format, r.version, list(r.uses)] for r in RENDERERS.values()]
        return digest({"drivers": drivers, "renderers": renderers, "octofleet": VERSION})

    @cached_property
    def secrets(self) -> SecretStores:
        """The stores that the settings grant."""
        return configured(self.settings.secrets, self.key)

    @cached_property
    def key(self) -> bytes:
        """The installation's key, made at the first use: 32 random bytes in a file that only its owner reads."""
        path = self.key_file
        try:
            if not path.exists():
                create_file(path, random.token_bytes(32), mode=0o600)
            return path.read_bytes()
        except OSError as error:
            raise OctofleetError(
                f"cannot read the installation's key {path}: {error.strerror}", hint="make it readable for this user"
            ) from error

    @property
    def key_file(self) -> Path:
        """Where the installation's key is, once it was used."""
        return self.data_dir / "key"

    @property
    def boot_dir(self) -> Path:
        """Where boot files are published."""
        return Path(self.settings.boot.directory) if self.settings.boot.directory else self.data_dir / "boot"

    @property
    def boot_url(self) -> str:
        """Where machines reach the boot server; empty if there is none."""
        boot = self.settings.boot
        return reached("http", boot.listen, boot.url) if boot.served else ""

    @cached_property
    def checked_by(self) -> str:
        """What manifests are read and checked by, as a digest: the schemas and this version of the reader."""
        return digest([schemas.digest(), VERSION])

    def index(self, repository: Repository) -> Index:
        """The index of a repository, seen afresh: what was read from it before is not to be used any more."""
        name = place(repository)
        if name not in self.indexes:
            file = f"{re.sub(r'[^A-Za-z0-9._-]', '-', name.rpartition('/')[2])[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.db"
            with stage("index"):
                self.indexes[name] = Index(self.data_dir / "index" / file, self.checked_by)
        self.indexes[name].fresh()
        return self.indexes[name]

    def repository(self, location: str, *, fetch: bool = True) -> Repository:
        """A repository by path or URL; a URL's mirror is brought up to date unless `fetch` is false."""
        repository = open_repository(location, self.data_dir / "mirrors", self._credentials)
        if fetch:
            repository.fetch()
        return repository

    @property
    def pinned(self) -> Pinned:
        """Other repositories that playbooks may be in."""
        return Pinned(mirrors=self.data_dir / "mirrors", allowed=self.settings.ansible.repositories, credentials=self._credentials)

    @property
    def _credentials(self) -> Credentials:
        git = self.settings.git
        return Credentials(
            token=os.environ.get(git.token_env, "") if git.token_env else "",
            key_file=Path(git.ssh_key_file) if git.ssh_key_file else None,
            known_hosts=Path(git.known_hosts_file) if git.known_hosts_file else None,
        )

    def token(self, ref: SecretRef, tenant: str) -> str:
        """The keyed digest of a secret, or `UNKNOWN` and the reason why it cannot be read now."""
        try:
            return self.secrets.token(ref, tenant)
        except OctofleetError as error:
            return UNKNOWN + error.message

    @contextmanager
    def contexts(
        self, repository: Repository, cancelled: Callable[[], bool] = lambda: False, commit: str = ""
    ) -> Iterator[Callable[..., Context]]:
        """A maker of contexts for driver calls; their private scratch directories live as long as this block."""
        scratch = private_directory(self.data_dir / "scratch")
        _clear_dead(scratch)
        with temporary_directory(f"{os.getpid()}-", scratch) as root:

            def make(log: Callable[[str], None] = lambda line: None, checkpoint: Callable[[str], None] = lambda operation: None) -> Context:
                own = Repository(repository.location, repository.path)  # libgit2 objects belong to one thread
                return Context(
                    deadline=time.monotonic() + CALL_DEADLINE_S,
                    scratch=Path(tempfile.mkdtemp(dir=root)),
                    secret=self._secret,
                    export=lambda tree, into: own.export(tree, "", into),
                    content=own.blob,
                    export_from=self.pinned.export,
                    cancelled=cancelled,
                    log=log,
                    checkpoint=checkpoint,
                    commit=commit,
                    location=repository.location,
                    host_keys=self.arming.host_keys,
                    passwords=self._passwords,
                    met=self._met,
                )

            yield make

    def _met(self, hosts: Sequence[HostTold]) -> None:
        """Keep what hosts said. What a run did is worth more: a database that is away meanwhile is no trouble of the run."""
        try:
            keep_told(self.store, hosts)
        except Unavailable as error:
            happened("facts-not-kept", hosts=len(hosts), error=error.message)

    def _secret(self, ref: SecretRef, tenant: str) -> SecretValue:
        return self.secrets.value(ref, tenant)

    def _passwords(self, tenant: str) -> Mapping[str, SecretValue]:
        return self.secrets.passwords(tenant)

    def apart(self) -> "Installation":
        """The same for another thread: with the database in common, and indexes, drivers and a sandbox of its own."""
        made = replace(self, sandbox=Sandbox(), indexes={}, of=self.of or self)
        made.__dict__["store"] = self.store  # its cached property
        return made

    def said_at(self, setting: Place) -> str:
        """The variable, or the file and line, that sets this."""
        return said_at(self.config or self.data_dir / CONFIG, setting)

    def close_own(self) -> None:
        """Let go of what one that is `apart` has of its own."""
        self.sandbox.close()
        for index in self.indexes.values():
            index.close()
        self.indexes.clear()

    def close(self) -> None:
        """Let go of processes and connections."""
        self.close_own()
        if "store" in self.__dict__:
            self.store.close()


def place(repository: Repository) -> str:
    """Where the repository can be found again: its URL, or its absolute path."""
    return placed(repository.location)


def placed(location: str) -> str:
    """A location that holds in any working directory."""
    return location if is_remote(location) else str(Path(location).expanduser().resolve())


def where(location: str) -> str:
    """A repository as it is followed: its URL, or its absolute path. Raises `OctofleetError` for a URL that may hold a secret: it would be kept, and
    shown."""
    if is_remote(location) and strip_credentials(location) != location:
        raise url_with_secret(location, "a password, a token or a query")
    return placed(location)


def same_place(location: str) -> str:
    """Equal for two ways to write one location."""
    found = where(location)
    if not is_remote(found):
        return found
    scheme, _, rest = found.rpartition("://")
    host, _, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}/{path.rstrip('/').removesuffix('.git')}"


def _clear_dead(scratch: Path) -> None:
    """Remove what processes that are gone left behind, as far as it can be: it may hold secrets."""
    with suppress(OSError):
        for left in list(scratch.iterdir()):
            pid = left.name.partition("-")[0]
            if pid.isdigit() and not Path("/proc", pid).exists():
                remove(left)


def open_installation(data_dir: Path, config: Path | None = None) -> Installation:
    """The installation in a directory, which is made if needed. Raises `OctofleetError`."""
    private_directory(data_dir)
    if config is not None and not config.exists():
        raise OctofleetError(f"there is no settings file {config}", hint="correct --config or OCTOFLEET_CONFIG", code="settings")
    settings = load_settings(config or data_dir / CONFIG, more=_wrong)
    stores_of(settings.secrets)  # a store that is described wrongly is told at once, not when its first secret is asked for
    return Installation(data_dir=data_dir, settings=settings, config=config)


def _wrong(settings: Settings) -> Iterator[tuple[Place, str]]:
    """What is wrong with settings though each is of its type."""
    audit, paths = settings.audit, {("blobs", "directory"): settings.blobs.directory}
    for place, path in (paths | {("audit", "head_file"): audit.head_file, ("audit", "head_git"): audit.head_git}).items():
        if path and not Path(path).is_absolute():
            yield place, f"is {path}, and must be an absolute path"
    if settings.blobs.store == "s3" and not settings.blobs.bucket:
        yield ("blobs", "bucket"), "is empty, and blobs.store is s3: name the bucket"
    url = settings.database_url
    if url and not url.startswith("postgres") and (problem := url_problem(url)):
        yield ("database_url",), problem
    yield from wrong_http(settings.http)
    yield from wrong_boot(settings.boot)
    yield from wrong_forges(settings)
    places: list[str] = []
    for number, followed in enumerate(settings.repositories):
        location = ("repositories", number, "location")
        try:
            places.append(same_place(followed.location))
        except OctofleetError as error:
            yield location, f"cannot be followed: {error.message}; {error.hint}"
            continue
        if places.index(places[-1]) < number:
            first = places.index(places[-1]) + 1
            yield location, f"is the repository of repositories {first} too: a repository is followed once, at one branch"


def default_data_dir() -> Path:
    """`OCTOFLEET_DATA_DIR`, else `octofleet` in the user's data directory (XDG Base Directory Specification)."""
    if os.environ.get("OCTOFLEET_DATA_DIR"):
        return Path(os.environ["OCTOFLEET_DATA_DIR"])
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "octofleet"
