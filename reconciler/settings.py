"""The server's settings: `octofleet.toml`, each value overridable by the environment. They are the installation's, never the repository's.

`OCTOFLEET_ANSIBLE__FORKS=20` overrides `forks` of the table `[ansible]`: two underscores go one table down.
"""

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import msgspec

from reconciler.errors import OctofleetError
from reconciler.settings_checked import Place, Problem, line_of, named, problems, type_at

PREFIX = "OCTOFLEET_"
NOT_SETTINGS = frozenset(f"OCTOFLEET_{name}" for name in ("DATA_DIR", "CONFIG", "SERVER", "TOKEN", "TOKEN_FILE", "CA_FILE"))


Seconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]

Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; a key that it does not know is an error."""


class Store(Table, frozen=True):
    """A store of secrets and the tenants that may use it (`"*"`: all). Which other keys are needed follows from `type`: env, directory or vault."""

    type: str
    tenants: list[str]
    prefix: str = ""
    path: str = ""
    url: str = ""
    mount: str = "secret"
    kv_version: int = 2
    namespace: str = ""
    token_file: str = ""
    token_env: str = ""
    ca_file: str = ""


class Vault(Table, frozen=True):
    """The password of an Ansible Vault id and the tenants that may use it."""

    tenants: list[str]
    password_file: str


class Secrets(Table, frozen=True):
    """Stores and Ansible Vault ids by name."""

    stores: dict[str, Store] = {}
    vault_ids: dict[str, Vault] = {}


class AnsibleProvider(Table, frozen=True):
    """A way in which playbooks are run, that `ansibleProvider` names, and the tenants that may use it (`"*"`: all). `local`: on this machine, as `[ansible]`
    says but for what is said here. `awx`: by AWX, Tower or Automation Platform at `url`, with a token from a file or the environment; `credentials`: names of
    credentials there that its jobs get."""

    tenants: list[str]
    type: Literal["local", "awx"] = "local"
    strategy: Literal["linear", "free", "host_pinned", "mitogen_linear", "mitogen_free", "mitogen_host_pinned"] = "linear"
    forks: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    timeout_s: Seconds = 0.0
    user: str = ""
    private_key_file: str = ""
    known_hosts_file: str = ""
    ssh_common_args: str = ""
    url: str = ""
    token_file: str = ""
    token_env: str = ""
    ca_file: str = ""
    organization: str = ""
    project_url: str = ""
    project_credential: str = ""
    credentials: list[str] = []
    instance_groups: list[str] = []
    execution_environment: str = ""


class Ansible(Table, frozen=True):
    """How hosts are reached. Host keys are always checked against `known_hosts_file`. `isolation`: whether a playbook run sees of this machine only what it
    needs (`auto`: where bubblewrap works), besides `visible`. `tenant_keys`: SSH keys of single tenants. `repositories`: what the URLs of playbooks' other
    repositories begin with; `galaxy`: servers of collections and roles. `keep`: which results of tasks are kept."""

    private_key_file: str = ""
    known_hosts_file: str = ""
    user: str = ""
    forks: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    timeout_s: Seconds = 600.0
    ssh_common_args: str = ""
    tenant_keys: dict[str, str] = {}
    visible: list[str] = []
    isolation: Literal["auto", "required", "off"] = "auto"
    repositories: list[str] = []
    galaxy: list[str] = []
    keep: Literal["changes", "all"] = "changes"
    providers: dict[str, AnsibleProvider] = {}


class Git(Table, frozen=True):
    """How remote repositories are reached."""

    ssh_key_file: str = ""
    known_hosts_file: str = ""
    token_env: str = ""


class Boot(Table, frozen=True):
    """Where boot files are published (default: `boot` in the data directory), and how machines are served that boot from the network. `listen` and
    `tls_listen`: HOST:PORT of HTTP, and of HTTPS for installers; `url` and `tls_url`: how machines reach them. `ca_file`: what installers have to trust.
    `tftp`: HOST:PORT of TFTP; `dhcp`: the address of this machine that proxyDHCP answers from. Nobody but `networks` is answered. `media`: a directory of
    kernels and images. `unknown`: what a machine gets that no manifest knows. `install_s`: how long an armed machine has; `secrets_over_http`: whether
    answer files with secrets may go without TLS."""

    directory: str = ""
    listen: str = ""
    url: str = ""
    tls_listen: str = ""
    tls_url: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    ca_file: str = ""
    tftp: str = ""
    dhcp: str = ""
    networks: list[str] = []
    media: str = ""
    loaders: str = ""
    unknown: Literal["menu", "discover", "local"] = "menu"
    install_s: Annotated[float, msgspec.Meta(ge=60, le=31_536_000)] = 86_400.0
    secrets_over_http: bool = False
    bmc_ca_file: str = ""

    @property
    def served(self) -> bool:
        """Whether machines are served, so that a raised generation arms an installer."""
        return bool(self.listen)


class Memory(Table, frozen=True):
    """The simulated world, for trials and tests. `path`: its file, so that several installations can share it; default: `memory.db` in the data directory."""

    enabled: bool = False
    path: str = ""
    operation_s: Seconds = 0.0
    settle_s: Seconds = 0.0


class Observe(Table, frozen=True):
    """A plan looks at what differs, if its commit reaches at most so many hosts; of more it relies on what was last seen."""

    at_most: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1000


class Apply(Table, frozen=True):
    """How runs are worked on. `deadline_s`: how long an operation in the world may take; `attempts`: how often in a row a step may fail with what may work
    later; `slots`: steps at once in one process; `lease_s`: how long a process may be silent before others take over its steps; `stop_s`: how long one
    that is told to stop waits for what has begun. `driver_limits` and `tenant_limit` bound the steps at once of a driver and of a tenant, over all
    processes (0: no limit)."""

    deadline_s: Seconds = 3600.0
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    slots: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    lease_s: Annotated[float, msgspec.Meta(ge=0.3, le=3600)] = 15.0
    stop_s: Seconds = 30.0
    driver_limits: dict[str, Annotated[int, msgspec.Meta(ge=1, le=100_000)]] = {}
    tenant_limit: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0


class Retry(Table, frozen=True):
    """How often a call of a driver is tried again in place, and when a provider that fails is left alone for a while."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    budget_s: Seconds = 10.0
    breaker_failures: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5
    breaker_open_s: Seconds = 30.0
    breaker_open_most_s: Seconds = 600.0


class Followed(Table, frozen=True):
    """A repository that `octofleet serve` follows. `branch`: empty for the default one. `apply`: whether what is merged is applied, or only planned and
    reported; `heal`: whether what was changed by hand is put right. `forge` names one of `[[forges]]` whose pull requests of `project` (`acme/fleet`) onto the
    branch are planned; with `apply_on = "comment"` what is merged waits until somebody who may writes `octofleet apply`. With `signed`, every commit of a pull
    request must be signed by somebody of `signers`: a directory with `allowed_signers` (ssh-keygen) and OpenPGP keys (`*.asc`, `*.gpg`). With `up_to_date`, a
    pull request must hold all of its branch. It looks for commits every `poll_s` seconds, and plans every `interval_s` seconds
    even without one; then it looks at `observe` of the resources too, those that were seen longest ago."""

    location: Annotated[str, msgspec.Meta(min_length=1)]
    branch: str = ""
    forge: str = ""
    project: str = ""
    apply_on: Literal["merge", "comment"] = "merge"
    signed: bool = False
    signers: str = ""
    up_to_date: bool = False
    poll_s: Annotated[float, msgspec.Meta(ge=0.2, le=86_400)] = 10.0
    interval_s: Annotated[float, msgspec.Meta(ge=1, le=31_536_000)] = 300.0
    observe: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 500
    apply: bool = True
    heal: bool = True


class Forge(Table, frozen=True):
    """Where pull requests are. `url`: of its API; default: the public one of its type. It authenticates with a token, from a file or the environment, or on
    GitHub as an App (`app_id`, `app_key_file`). `secret_files` and `secrets_env`: what its webhooks are signed with or carry; two at once, so that one can
    replace the other. `poll_s`: also look every so often, where no webhook can reach; 0 for never. `public_url`: where people reach this server."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
    type: Literal["github", "gitlab", "gitea", "bitbucket", "bitbucket-server"]
    url: str = ""
    user: str = ""
    token_file: str = ""
    token_env: str = ""
    app_id: str = ""
    app_key_file: str = ""
    ca_file: str = ""
    secret_files: list[str] = []
    secrets_env: list[str] = []
    poll_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    public_url: str = ""


class Blobs(Table, frozen=True):
    """Where archived logs and artifacts are kept. The credentials for s3 are those of the AWS SDK's own environment."""

    store: Literal["", "directory", "database", "s3"] = ""
    directory: str = ""
    bucket: str = ""
    prefix: str = ""
    endpoint: str = ""
    region: str = ""


class Retention(Table, frozen=True):
    """What `octofleet prune` lets go, by its age in days. What is open, or can still be applied, always stays."""

    runs_days: Days = 365
    plans_days: Days = 30
    log_days: Days = 7


class Audit(Table, frozen=True):
    """Where `octofleet serve` keeps the head of the audit trail, outside the database: in a file, on the branch `octofleet-audit` of a Git repository on
    this machine, or both."""

    head_file: str = ""
    head_git: str = ""
    head_every_s: Annotated[float, msgspec.Meta(ge=1, le=31_536_000)] = 300.0


Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Sessions(Table, frozen=True):
    """How long people stay signed in to the server, and how often somebody may try to sign in: `tries` at one account from one address, `source_tries` from
    one address, `account_tries` at one account from anywhere, each in a window of `tries_s` that begins with the first try."""

    idle_s: Annotated[float, msgspec.Meta(ge=300, le=31_536_000)] = 3600.0
    absolute_s: Annotated[float, msgspec.Meta(ge=60, le=31_536_000)] = 43_200.0
    invitation_s: Annotated[float, msgspec.Meta(ge=60, le=31_536_000)] = 86_400.0
    tries: Limit = 10
    source_tries: Limit = 100
    account_tries: Limit = 200
    tries_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300


class Alerts(Table, frozen=True):
    """What AlertChannels may do. Their webhooks are sent to by https alone; `http_loopback` allows http to this machine, for trials and sidecars."""

    http_loopback: bool = False


class Http(Table, frozen=True):
    """How `listen` is served. With `tls_certificate` and `tls_key` over HTTPS; they are read again when they change."""

    tls_certificate: str = ""
    tls_key: str = ""
    trusted_proxies: list[str] = []
    connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    connections_of_client: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 256


class Settings(Table, frozen=True):
    """The whole file."""

    database_url: str = ""
    log: Literal["console", "json"] = "console"
    repositories: list[Followed] = []
    forges: list[Forge] = []
    listen: str = ""
    http: Http = Http()
    secrets: Secrets = Secrets()
    ansible: Ansible = Ansible()
    git: Git = Git()
    boot: Boot = Boot()
    memory: Memory = Memory()
    observe: Observe = Observe()
    apply: Apply = Apply()
    retry: Retry = Retry()
    blobs: Blobs = Blobs()
    retention: Retention = Retention()
    audit: Audit = Audit()
    sessions: Sessions = Sessions()
    alerts: Alerts = Alerts()


def load_settings(
    path: Path, environment: Mapping[str, str] = os.environ, more: Callable[[Settings], Iterable[Problem]] = lambda settings: ()
) -> Settings:
    """The settings of a file (which need not exist) and the environment. Raises `OctofleetError` that names everything that is wrong, and where it is
    said; `more` finds what the types do not tell."""
    try:
        text = path.read_text() if path.exists() else ""
        read = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OctofleetError(f"cannot read the settings {path}: {error}", hint="correct the file", code="settings") from error
    variables = dict(_override(read, name, value) for name, value in sorted(environment.items()) if _is_setting(name))
    found = list(problems(read, Settings))
    if not found:
        settings = msgspec.convert(read, Settings, strict=False)
        found = list(more(settings))
    if found:
        said = [f"{_origin(place, variables, path, text)}: {named(place)} {what}" for place, what in found]
        raise OctofleetError("\n".join(said), hint="docs/reference/settings.md lists every setting", code="settings")
    return settings


def said_at(path: Path, place: Place, environment: Mapping[str, str] = os.environ) -> str:
    """The variable or the file and line that sets this."""
    variables: dict[Place, str] = {tuple(name.removeprefix(PREFIX).lower().split("__")): name for name in environment if _is_setting(name)}
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        text = ""
    return _origin(place, variables, path, text)


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name not in NOT_SETTINGS


def _override(settings: dict[str, Any], name: str, text: str) -> tuple[Place, str]:
    """Set what a variable of the environment says; gives the place of the setting, and the variable."""
    place: Place = tuple(name.removeprefix(PREFIX).lower().split("__"))
    for table in place[:-1]:
        settings = settings.setdefault(str(table), {})
        if not isinstance(settings, dict):
            raise OctofleetError(f"{name}: {table} is not a table of settings", hint="docs/reference/settings.md", code="settings")
    settings[str(place[-1])] = _value(name, text) if get_origin(type_at(Settings, place)) in (list, dict) else text
    return place, name


def _value(name: str, text: str) -> object:
    """A list or a table is written in the environment as in the file."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        hint = 'for example ["a", "b"], or {a = 1, b = 2}'
        raise OctofleetError(f"{name} is not a list or table as TOML writes it: {error}", hint=hint, code="settings") from error


def _origin(place: Place, variables: Mapping[Place, str], path: Path, text: str) -> str:
    """The variable or the line that sets this, or the file in which it is missing."""
    for said, name in variables.items():
        if place[: len(said)] == said or said[: len(place)] == place:
            return name
    line = line_of(text, place)
    return f"{path}:{line}" if line else str(path)
