"""The reference pages of the command, of roles, of the settings and of the API, made from what the code itself declares.

`python -m reconciler.cli.reference docs/reference` writes `access.md`, `command.md`, `settings.md`, `routes.md` and `openapi.json`. In: click's commands, the
structs of `settings.py`, the table of routes. Out: Markdown and JSON, the same bytes for the same code. A setting without a line in `KEYS` is an error, so
none stays undocumented.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import msgspec

from reconciler.cli import remote
from reconciler.cli.main import COMMANDS, REMOTE, cli
from reconciler.cli.permission import ACTIONS
from reconciler.files import replace_file
from reconciler.identity.access import HAS, NEEDS, Role
from reconciler.server.openapi import document
from reconciler.server.route import API, Route, plain_path
from reconciler.server.routes import ROUTES
from reconciler.settings import PREFIX, Settings
from reconciler.settings_checked import described

MADE = "<!-- Made by `make docs` from the code. Do not edit. -->\n"

CODES = (
    ("0", "nothing to do, or converged"),
    ("1", "an error, usage errors included"),
    ("2", "there are changes, or drift"),
    ("3", "incomplete: something is put off, waits for approval, or a guard refuses"),
)

KEYS = {
    "alerts.http_loopback": "Whether webhooks of AlertChannels may be sent to `http://` on the loopback.",
    "ansible.forks": "How many hosts one run works on at once. 0: as many as this machine has room for.",
    "ansible.galaxy": "Servers that collections and roles of requirements files may come from: URLs. Empty: none, but files of the repository.",
    "ansible.isolation": "Whether a playbook run sees of this machine only what it needs, by bubblewrap: where that works, always, or never.",
    "ansible.keep": "Which results of tasks are kept: what changed or failed, or all.",
    "ansible.known_hosts_file": "The host keys to check against; an unknown key is refused. Empty: ssh's own files.",
    "ansible.private_key_file": "The SSH key. Empty: the agent, or ssh's default keys.",
    "ansible.providers.NAME.ca_file": "awx: the authorities to trust, in PEM, in place of the system's.",
    "ansible.providers.NAME.credentials": "awx: the names of credentials there that its jobs get.",
    "ansible.providers.NAME.execution_environment": "awx: the name of the execution environment of its jobs. Empty: its default.",
    "ansible.providers.NAME.forks": "As in `[ansible]`, for this provider; 0: as there.",
    "ansible.providers.NAME.instance_groups": "awx: the names of instance groups that its jobs run in. Empty: its default.",
    "ansible.providers.NAME.known_hosts_file": "local: as in `[ansible]`, for this provider. Empty: as there.",
    "ansible.providers.NAME.organization": "awx: the organization that what Octofleet makes there belongs to.",
    "ansible.providers.NAME.private_key_file": "local: as in `[ansible]`, for this provider. Empty: as there.",
    "ansible.providers.NAME.project_credential": "awx: the name of the credential with which it fetches the repository.",
    "ansible.providers.NAME.project_url": "awx: where it fetches the repository from. Empty: from where Octofleet does.",
    "ansible.providers.NAME.ssh_common_args": "local: as in `[ansible]`, for this provider. Empty: as there.",
    "ansible.providers.NAME.strategy": "local: Ansible's strategy. Those of Mitogen need `pip install 'octofleet[mitogen]'`.",
    "ansible.providers.NAME.tenants": 'The tenants whose hosts may be run so; `["*"]`: all of them.',
    "ansible.providers.NAME.timeout_s": "As in `[ansible]`, for this provider; 0: as there.",
    "ansible.providers.NAME.token_env": "awx: the environment variable that holds the token.",
    "ansible.providers.NAME.token_file": "awx: the file that holds the token, read again when it changes.",
    "ansible.providers.NAME.type": "`local`: on this machine. `awx`: by AWX, Ansible Tower or Automation Platform.",
    "ansible.providers.NAME.url": "awx: its URL, such as `https://awx.example.com`.",
    "ansible.providers.NAME.user": "local: as in `[ansible]`, for this provider. Empty: as there.",
    "ansible.repositories": "What the URLs of other repositories begin with that playbooks may be in. Empty: none.",
    "ansible.ssh_common_args": "Further arguments for ssh, such as `-J bastion`; the user's ssh configuration is not read.",
    "ansible.tenant_keys": 'SSH keys of single tenants, in place of `private_key_file`: `{shop = "/etc/octofleet/shop_key"}`.',
    "ansible.timeout_s": "The longest that one playbook run may take, in seconds.",
    "ansible.user": "The user to log in as. Empty: OpenSSH's choice, or `ansible_user` in `vars`.",
    "ansible.visible": "Files and directories of this machine that isolated runs see, and may change, besides what they need.",
    "audit.head_every_s": "How often the head is kept, in seconds, if there are new rows.",
    "audit.head_file": "A file for the head, best on another machine's file system; an absolute path. Empty: none.",
    "audit.head_git": "A Git repository on this machine, bare or not, for the head; an absolute path. Empty: none.",
    "observe.at_most": "A plan whose commit reaches more hosts than that does not look at what differs: it relies on what was last seen.",
    "apply.deadline_s": "How long a run waits for one long operation, in seconds; after that the change is `expired`.",
    "apply.attempts": "How often in a row a step may fail with what may work later; then it has failed.",
    "apply.driver_limits": "The most steps at once of a driver, over all processes: `{ansible = 8}`.",
    "apply.lease_s": "How long a process may be silent before others take its steps over, in seconds.",
    "apply.slots": "The most steps at once in one process.",
    "apply.stop_s": "How long `serve` and `worker` wait, when told to stop, for steps that have begun, in seconds; then others take them over.",
    "apply.tenant_limit": "The most steps at once of one tenant, over all processes. 0: no limit.",
    "blobs.bucket": "s3: the bucket, which must exist.",
    "blobs.directory": "directory: where the files are; an absolute path. Empty: `blobs` in the data directory.",
    "blobs.endpoint": "s3: the URL of a server other than Amazon's.",
    "blobs.prefix": "s3: what the keys of all objects begin with, such as `octofleet/`.",
    "blobs.region": "s3: the region. Empty: the SDK's own choice.",
    "blobs.store": "Empty: `directory`; with PostgreSQL `database`.",
    "boot.directory": "Where boot files are published. Empty: `boot` in the data directory.",
    "boot.bmc_ca_file": "Authorities that sign the certificates of BMCs, in PEM, besides the system's.",
    "boot.ca_file": "What installers have to trust for `tls_certificate`, in PEM; they get it as an initial ram disk. Empty: they trust it already.",
    "boot.dhcp": "The address of this machine, on the network of the machines, that proxyDHCP answers from, beside the site's own DHCP server. Empty: none.",
    "boot.install_s": "How long an armed machine has until it is installed, in seconds, where `install.within` does not say.",
    "boot.listen": "HOST:PORT of HTTP for machines. Empty: no machine is served, and a raised generation arms nothing.",
    "boot.loaders": "A directory of further boot loaders: wimboot, and other distributions' signed pairs of shim and GRUB.",
    "boot.media": "A directory of kernels and images, served at `/media/`. Empty: none.",
    "boot.networks": 'The provisioning networks, such as `["10.0.0.0/24"]`: nobody else is answered.',
    "boot.secrets_over_http": "Whether answer files that hold secrets are handed out without TLS.",
    "boot.tftp": "HOST:PORT of TFTP, such as `10.0.0.5:69`. Empty: none.",
    "boot.tls_certificate": "The certificate of `tls_listen` with its chain, in PEM.",
    "boot.tls_key": "Its key, in PEM, without a password.",
    "boot.tls_listen": "HOST:PORT of HTTPS for installers: what holds secrets is handed out here alone.",
    "boot.tls_url": "How installers reach `tls_listen`. Empty: `https://` and its address.",
    "boot.unknown": "What a machine gets that no manifest knows: a menu, to be proposed as a manifest (`discover`), or its disk.",
    "boot.url": "How machines reach `listen`. Empty: `http://` and its address.",
    "[forges].app_id": "GitHub: the id of the App to authenticate as, with `app_key_file`.",
    "[forges].app_key_file": "GitHub: the file of the App's private key, in PEM.",
    "[forges].ca_file": "The certificates to trust, in PEM, in place of the system's.",
    "[forges].name": "How `[[repositories]]` name it; its webhooks arrive at `/webhooks/NAME`.",
    "[forges].poll_s": "How often to look what has changed there, in seconds; 0: never. Without webhooks 60, beside them 300 are good values.",
    "[forges].public_url": "Where people reach this server, for links in comments: `https://octofleet.example.com`.",
    "[forges].secret_files": "Files with the secret of its webhooks, read again when they change; two at most, so that one can replace the other.",
    "[forges].secrets_env": "The same in environment variables; they are counted together.",
    "[forges].token_env": "The environment variable that holds the token.",
    "[forges].token_file": "The file that holds the token, read again when it changes.",
    "[forges].type": "What runs there; Forgejo is `gitea`.",
    "[forges].url": "The URL of its API, such as `https://github.example.com/api/v3`. Empty: the public one of its type.",
    "[forges].user": "The user that the token belongs to, where the forge wants both.",
    "[repositories].apply": "Whether what is merged is applied; if not, it is planned and reported.",
    "[repositories].apply_on": "When what is merged is applied: at once, or when somebody who may says so in a comment of its pull request.",
    "[repositories].branch": "The branch to follow. Empty: the default branch.",
    "[repositories].forge": "The name of one of `[[forges]]` whose pull requests are planned; together with `project`.",
    "[repositories].heal": "Whether what was changed by hand is put right; if not, it is reported.",
    "[repositories].interval_s": "How often it is planned even without a new commit, in seconds; a fifth more or less, by chance.",
    "[repositories].location": "The path or URL of the repository.",
    "[repositories].observe": "So many resources are looked at in each interval, those that were seen longest ago; what differs from its record always is.",
    "[repositories].poll_s": "How often its branch is looked at, in seconds.",
    "[repositories].project": "Its name at the forge, `acme/fleet`.",
    "[repositories].signed": "Whether every commit of a pull request must be signed by somebody of `signers`.",
    "[repositories].signers": "A directory with `allowed_signers` (as ssh-keygen has it) and OpenPGP keys (`*.asc`, `*.gpg`).",
    "[repositories].up_to_date": "Whether a pull request must hold all of its branch.",
    "database_url": "`sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/DATABASE` as libpq reads it (15 or newer, UTF-8, the extra `postgresql`): "
    "several hosts with commas between, `?sslmode=verify-full`, `?passfile=PATH`. Empty: `octofleet.db` in the data directory.",
    "git.known_hosts_file": "OpenSSH's known_hosts for Git over ssh.",
    "git.ssh_key_file": "The SSH key for Git over ssh.",
    "git.token_env": "The environment variable that holds the token for Git over https.",
    "http.connections": "The most connections at once.",
    "http.connections_of_client": "The most connections, or behind a trusted proxy requests, of one address at once. Each stream of events is one.",
    "http.tls_certificate": "The file of the server's certificate and those that lead to its root, in PEM; an absolute path. Empty: plain HTTP.",
    "http.tls_key": "The file of its key, in PEM, without a password; an absolute path.",
    "http.trusted_proxies": 'Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: `["10.0.0.5"]`. '
    "They must set both themselves.",
    "listen": "Where `serve` and `worker` answer /healthz, /readyz, /metrics and webhooks over HTTP: `HOST:PORT`. Empty: nowhere.",
    "log": "How lines of the log are written to stderr: `key=value` (`console`), or one JSON object each (`json`).",
    "memory.path": "The file of the simulated world. Empty: `memory.db` in the data directory.",
    "memory.enabled": "Adds the driver `memory`: simulated machines.",
    "memory.operation_s": "How long installing a simulated machine takes, in seconds.",
    "memory.settle_s": "How long a simulated creation may stay hidden after a lost reply, in seconds.",
    "retry.attempts": "The most calls for one request of a driver that asks to be called again later.",
    "retry.budget_s": "The longest that all waits of one request may take together, in seconds; longer ones are not begun.",
    "retry.breaker_failures": "After so many failed requests in a row a provider is not asked any more for a while.",
    "retry.breaker_open_s": "How long it is left alone at first, in seconds; half of that is drawn. It doubles each time that it fails again.",
    "retry.breaker_open_most_s": "The longest that it is left alone, in seconds.",
    "retention.log_days": "So long after a run has ended its log moves to the blob store, compressed.",
    "retention.plans_days": "So long after it was made a plan goes that has expired and that no kept run belongs to.",
    "retention.runs_days": "So long after it has ended a run goes, with its log; the newest of each Fleet stays.",
    "sessions.absolute_s": "So long after signing in one has to sign in again, in seconds.",
    "sessions.account_tries": "The most tries to sign in to one account from anywhere, in a window. It also keeps its owner out: leave it large.",
    "sessions.idle_s": "A session that is not used for so long ends, in seconds.",
    "sessions.invitation_s": "How long a one-time link is good, in seconds.",
    "sessions.source_tries": "The most tries to sign in from one IPv4 address or one IPv6 network (/64), in a window.",
    "sessions.tries": "The most tries to sign in to one account from one address, in a window. Who succeeds has as many again.",
    "sessions.tries_s": "How long a window is in which tries are counted, in seconds; it begins with the first one.",
    "secrets.stores.NAME.ca_file": "vault: the certificate authority of the server. Empty: the system's.",
    "secrets.stores.NAME.kv_version": "vault: the version of the KV mount, 1 or 2.",
    "secrets.stores.NAME.mount": "vault: the KV mount.",
    "secrets.stores.NAME.namespace": "vault: the namespace, if there is one.",
    "secrets.stores.NAME.path": "directory: where the files are; one file for each key.",
    "secrets.stores.NAME.prefix": "env: what the names of its variables begin with.",
    "secrets.stores.NAME.tenants": 'The tenants that may read it; `["*"]`: all of them, and what belongs to no tenant.',
    "secrets.stores.NAME.token_env": "vault: the environment variable that holds the token.",
    "secrets.stores.NAME.token_file": "vault: the file that holds the token; it is read for each use.",
    "secrets.stores.NAME.type": "`env`, `directory` or `vault`.",
    "secrets.stores.NAME.url": "vault: the address of the server.",
    "secrets.vault_ids.NAME.password_file": "The file that holds the password.",
    "secrets.vault_ids.NAME.tenants": 'The tenants that may use it; `["*"]`: all of them, and what belongs to no tenant.',
}
"""What each setting means; `NAME` stands for a name that the administrator chooses."""


def command_page() -> str:
    """Every command with its arguments and options."""
    return "\n".join(_command_lines()) + "\n"


def access_page() -> str:
    """Every action with the least role that it takes, and the commands that do it."""
    return "\n".join(_access_lines()) + "\n"


def settings_page() -> str:
    """Every table and key of octofleet.toml. Raises `KeyError` for a key that `KEYS` does not explain."""
    return "\n".join(_settings_lines()) + "\n"


def routes_page() -> str:
    """Every route of the API and the pages, with what it takes."""
    return "\n".join(_route_lines()) + "\n"


def openapi_page() -> str:
    """The API as an OpenAPI document."""
    return msgspec.json.format(msgspec.json.encode(document(ROUTES)), indent=1).decode() + "\n"


def _route_lines() -> Iterator[str]:
    yield from (MADE, "# Routes of the API", "")
    yield f"Paths are below `{API}`. [openapi.json](openapi.json) has every field of what they take and answer, [the API](../api.md) how to use them."
    yield "A page is at the same path without that prefix. What a role may do is in [roles and actions](access.md)."
    yield ""
    yield from _table(("route", "permission", "page", "what it does"), map(_route, sorted(ROUTES, key=lambda one: (one.path, one.method))))


def _route(route: Route) -> tuple[str, ...]:
    asked = ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(route.asks))
    page = "yes" if route.template else "" if not route.then else "leads on" if route.method == "GET" else "form"
    text = route.summary + (f" {'Query' if route.method == 'GET' else 'Body'}: {asked}." if asked else "")
    return f"`{route.method} {plain_path(route.path)}`", f"`{route.action}`", page, text


def _command_lines() -> Iterator[str]:
    yield from (MADE, "# The command", "")
    yield "Exit codes; where several hold, the highest of 1 > 3 > 2 > 0 wins:"
    yield ""
    yield from _table(("code", "meaning"), CODES)
    group = click.Context(cli, info_name="octofleet")
    for name in cli.list_commands(group):
        command = cli.get_command(group, name)
        if command is None:
            continue
        yield from _command(command, click.Context(command, parent=group, info_name=name))
    yield from _remote_lines()


def _remote_lines() -> Iterator[str]:
    """What can be asked of a server."""
    yield from ("", "# With a server", "")
    yield "`octofleet --server URL COMMAND`, or `OCTOFLEET_SERVER` in the environment, asks `octofleet serve` over [its API](../api.md) instead of working"
    yield "here: as the token in `OCTOFLEET_TOKEN`, or in the file that `OCTOFLEET_TOKEN_FILE` names (`octofleet token create` makes one), over HTTPS, or"
    yield "without encryption on the loopback. `OCTOFLEET_CA_FILE` names the certificate authority where the system does not know it. No redirect is followed."
    yield "Exit codes are the same; `--json` prints the API's documents. Every other command, and every other option, is refused by name."
    group = click.Context(cli, info_name="octofleet --server URL")
    for name in COMMANDS:
        if name in REMOTE:
            command = getattr(remote, name)
            yield from _command(command, click.Context(command, parent=group, info_name=name))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """A command, and those below it."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    title = context.command_path.partition(" ")[2]
    yield from ("", f"## {title}", "", "```sh", usage, "```", "", " ".join((command.help or "").split()), "")
    yield from _table(("option", "default", "what it does"), _options(command, context))
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _command(below, click.Context(below, parent=context, info_name=name))


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, ...]]:
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        value = "" if option.is_flag else f" {option.make_metavar(context)}"
        names = ", ".join(f"`{name}{value}`" for name in option.opts)
        text = " ".join((option.help or "").split())
        variable = f" Environment: `{option.envvar}`." if isinstance(option.envvar, str) else ""
        yield names, _default(option), text + variable


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    return f"`{option.default}`" if option.show_default else ""


def _access_lines() -> Iterator[str]:
    yield from (MADE, "# Roles and actions", "")
    yield "Who has which role is said by [RoleMappings](rolemapping.md); what that means is in [concepts](../concepts.md#who-may-do-what)."
    yield "*At the machine*: whoever has the installation's files in hand there, whatever his roles. Commands for viewers do not ask: who can open the"
    yield "database can read it. An action without a command is one that nothing does yet."
    yield from ("", "## Roles", "")
    yield from _table(
        ("role", "comes with"), ((f"`{role}`", ", ".join(f"`{has}`" for has in Role if has in HAS[role] - {role})) for role in Role)
    )
    yield from ("", "## Actions", "")
    names = {action: ", ".join(f"`{name}`" for name, of in ACTIONS.items() if of is action) for action in NEEDS}
    rows = (
        (f"`{action}`", f"`{need.role}`" if need.role else "at the machine", names[action], need.means) for action, need in NEEDS.items()
    )
    yield from _table(("action", "least role", "commands", "what it is"), rows)


def _settings_lines() -> Iterator[str]:
    yield from (MADE, "# Settings: octofleet.toml", "")
    yield "The settings are the installation's. They are read from `octofleet.toml` in the data directory, or from the file that"
    yield "`--config` or `OCTOFLEET_CONFIG` names; never from the working directory and never from the repository of manifests."
    yield "A key that is not listed here is an error. The environment overrides the file, with two underscores for each table:"
    yield '`OCTOFLEET_ANSIBLE__FORKS=20` sets `forks` of `[ansible]`. A list or a table is written as in the file: `["shop"]`, `{ansible = 8}`.'
    yield "`OCTOFLEET_DATA_DIR` is the data directory itself, and no setting."
    yield from _tables(Settings, "")


def _tables(table: type[msgspec.Struct], path: str) -> Iterator[str]:
    title = f"[{path}]" if path else "Top level"
    yield from ("", f"## {title}", "", " ".join((table.__doc__ or "").split()))
    below: list[tuple[type[msgspec.Struct], str]] = []
    rows: list[tuple[str, ...]] = []
    for field in msgspec.structs.fields(table):
        where = f"{path}.{field.name}" if path else field.name
        inner = get_args(field.type)[-1] if get_origin(field.type) in (dict, list) else field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            place = {dict: f"{where}.NAME", list: f"[{where}]"}.get(get_origin(field.type), where)
            below.append((inner, place))
        else:
            rows.append((f"`{field.name}`", described(field.type), _toml(field), _variable(where), KEYS[where]))
    if rows:
        yield ""
        yield from _table(("key", "type", "default", "environment", "meaning"), rows)
    for inner, where in below:
        yield from _tables(inner, where)


def _toml(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{str(default).lower()}`" if not isinstance(default, str) else f'`"{default}"`'


def _variable(where: str) -> str:
    return "" if where.startswith("[") else f"`{PREFIX}{where.replace('.', '__').upper()}`"


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    if body:
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        yield from (f"| {' | '.join(row)} |" for row in body)


def main(directory: Path) -> None:
    """Write the pages."""
    replace_file(directory / "access.md", access_page().encode())
    replace_file(directory / "command.md", command_page().encode())
    replace_file(directory / "settings.md", settings_page().encode())
    replace_file(directory / "routes.md", routes_page().encode())
    replace_file(directory / "openapi.json", openapi_page().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
