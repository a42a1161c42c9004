"""`octofleet demo`: the example fleet, end to end, on this machine. Every chapter runs the real command and shows what it prints."""

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pygit2

from reconciler.cli.demo_ansible import ask
from reconciler.cli.demo_hosts import Machines, machines
from reconciler.cli.demo_machine import GATEWAY, PACKAGES, Simulated, Virtual, free_port, lacking, make
from reconciler.cli.init import commit_all
from reconciler.errors import OctofleetError
from reconciler.identity.local import whoami

if TYPE_CHECKING:
    from reconciler.server.demo_forge import DemoForge

LIVE = ("web-01", "web-02")
WEB = "hosts/shop/web.yaml"
PROFILES = "profiles/linux.yaml"
ACCESS = "access/fleet.yaml"
DATABASE = "hosts/shop/db-01.yaml"
NETBOOTED, MAC = "web-02", "52:54:00:10:00:02"
CHAPTERS = 9
LISTEN = "127.0.0.1:8080"
PATIENCE_S = 180.0
MOST_LINES = 36
TAG = "[//]: # (octofleet)"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """One run of the demo in a directory of its own."""

    root: Path
    machines: Machines

    @property
    def fleet(self) -> Path:
        """The Git repository."""
        return self.root / "fleet"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "OCTOFLEET_DATA_DIR": str(self.root / "data"), "OCTOFLEET_CONFIG": str(self.root / "octofleet.toml")}

    def octofleet(self, *arguments: str, expect: int, **environment: str) -> None:
        """Run the command as a user would and show it; ends the demo if its exit code is not the one expected."""
        said = shlex.join(arguments)
        click.echo(click.style(f"\n$ octofleet {said}", fg="cyan", bold=True))
        command = [sys.executable, "-m", "reconciler.cli", *arguments]
        code = subprocess.run(command, cwd=self.fleet, env=self._environment | environment, check=False).returncode  # noqa: S603 - our own program
        if code != expect:
            raise OctofleetError(
                f"octofleet {said} ended with {code}, not with {expect}", hint=f"look into {self.root}; --debug shows more", code="demo"
            )

    def token(self) -> str:
        """A token that may look, as the pipeline of the example's RoleMapping."""
        command = [sys.executable, "-m", "reconciler.cli", "token", "create", "pipeline", "--allow", "view", "--json"]
        made = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own program
        return str(json.loads(made.stdout)["token"])

    @property
    def server(self) -> list[str]:
        """The arguments of `octofleet` that start the server on this fleet."""
        return ["serve", "--data-dir", str(self.root / "data"), "--config", str(self.root / "octofleet.toml"), "--repo", str(self.fleet)]

    def serve(self) -> None:
        """Start it in the foreground, until Ctrl-C, which it hears itself."""
        process = subprocess.Popen([sys.executable, "-m", "reconciler.cli", *self.server])  # noqa: S603 - our own program
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.wait()
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def serving(self, forge: "DemoForge") -> Iterator[str]:
        """`octofleet serve` with a forge whose webhooks it takes, until the block ends; gives its URL."""
        from reconciler.server.demo_forge import PROJECT, SECRET, TOKEN  # noqa: PLC0415 - slow to import

        for name, text in (("token", TOKEN), ("secret", SECRET)):
            (self.root / "forge" / name).write_text(text)
        settings = (self.root / "octofleet.toml").read_text()
        config = self.root / "serve.toml"
        config.write_text(
            f"""{settings}
[[forges]]
name = "demo"
type = "github"
url = "{forge.url}"
token_file = "{self.root / "forge" / "token"}"
secret_files = ["{self.root / "forge" / "secret"}"]

[[repositories]]
location = "{forge.git.as_uri()}"
forge = "demo"
project = "{PROJECT}"
"""
        )
        with self._served(config) as address:
            forge.hook = f"{address}/webhooks/demo"
            yield address

    @contextmanager
    def _served(self, config: Path) -> Iterator[str]:
        environment = self._environment | {"OCTOFLEET_CONFIG": str(config), "OCTOFLEET_LISTEN": "127.0.0.1:0"}
        command = [sys.executable, "-m", "reconciler.cli", "serve", "--json"]
        with (self.root / "serve.log").open("a") as log:
            process = subprocess.Popen(command, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.endswith("}\n"):
                raise OctofleetError("octofleet serve did not start", hint=f"look into {self.root / 'serve.log'}", code="demo")
            yield str(json.loads(line)["address"])
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    @contextmanager
    def booting(self, port: int) -> Iterator[None]:
        """`octofleet serve` with the settings of netboot, which stay; it follows the repository, but applies nothing."""
        with (self.root / "octofleet.toml").open("a") as settings:
            settings.write(
                f"""
[boot]
listen = "127.0.0.1:{port}"
url = "http://{GATEWAY}:{port}"
networks = ["127.0.0.0/8"]
media = "{self.root / "media"}"
"""
            )
        config = self.root / "serve-boot.toml"
        follow = f'[[repositories]]\nlocation = "{self.fleet.as_uri()}"\napply = false\n'
        config.write_text(f"{(self.root / 'octofleet.toml').read_text()}\n{follow}")
        with self._served(config):
            yield

    @contextmanager
    def applying(self, *arguments: str) -> Iterator[None]:
        """`octofleet apply` beside the block; ends the demo if it does not end well in time after it."""
        said = shlex.join(["apply", *arguments])
        click.echo(click.style(f"\n$ octofleet {said}", fg="cyan", bold=True))
        command = [sys.executable, "-m", "reconciler.cli", "apply", *arguments]
        process = subprocess.Popen(command, cwd=self.fleet, env=self._environment)  # noqa: S603 - our own program
        try:
            yield
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        if code != 0:
            raise OctofleetError(f"octofleet {said} ended with {code}", hint=f"look into {self.root}", code="demo")

    def is_armed(self) -> bool:
        """Whether something waits to be installed."""
        with sqlite3.connect(f"file:{self.root / 'data' / 'octofleet.db'}?mode=ro", uri=True) as connection:
            return bool(connection.execute("SELECT count(*) FROM installation WHERE ended_at IS NULL").fetchone()[0])

    def until(self, done: Callable[[], Any], what: str) -> None:
        """Wait for something that the server does."""
        end = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > end:
                raise OctofleetError(f"{what} did not come", hint=f"look into {self.root / 'serve.log'}", code="demo")
            time.sleep(0.1)

    def plan(self, *arguments: str, expect: int) -> None:
        """Plan, and keep the plan as a file too."""
        self.octofleet("plan", *arguments, "--out", str(self.root / "plan.json"), expect=expect)

    def planned(self) -> str:
        """The beginning of the id of the plan made last, as people type it."""
        return str(json.loads((self.root / "plan.json").read_text())["id"])[:12]

    def prepare(self, source: Path) -> None:
        """The repository with the two machines of this demo, the settings, and a secret."""
        shutil.copytree(source, self.fleet)
        edit(self.fleet / WEB, self._reach)
        edit(self.fleet / ACCESS, _lead)
        commit_all(self.fleet, "The example fleet")
        secrets = self.root / "secrets"
        secrets.mkdir(mode=0o700)
        (secrets / "app_token").write_text("only-for-this-demo\n")
        (secrets / "app_token").chmod(0o600)
        (self.root / "octofleet.toml").write_text(
            f"""# The settings of this demo's installation. They are the server's, never the repository's.
listen = "{LISTEN}"

[secrets.stores.shop-secrets]
type = "directory"
path = "{secrets}"
tenants = ["shop"]
"""
            + (f'\n[ansible]\nprivate_key_file = "{self.machines.private_key}"\n' if self.machines.private_key else self._visible())
            + (f'known_hosts_file = "{self.machines.known_hosts}"\n' if self.machines.known_hosts else "")
        )

    def _visible(self) -> str:
        """Machines of the local connection are directories here, which isolated runs would not see."""
        return f"\n[ansible]\nvisible = {json.dumps([str(host.home) for host in self.machines.hosts])}\n"

    def _reach(self, document: Any) -> None:
        found = next((host for host in self.machines.hosts if host.name == document["metadata"]["name"]), None)
        if found is not None:
            document["spec"].setdefault("vars", {}).update(found.variables())

    def git(self) -> pygit2.Repository:
        """The repository, opened."""
        return pygit2.Repository(str(self.fleet))


def edit(path: Path, change: Any) -> None:
    """Change each document of a YAML file in place; comments and order stay."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - only the demo edits files

    yaml = YAML()
    yaml.width = 200
    documents = list(yaml.load_all(path.read_text()))
    for document in documents:
        change(document)
    with path.open("w") as file:
        yaml.dump_all(documents, file)


def _lead(document: Any) -> None:
    """Whoever runs the demo is a super-admin of its fleet, here, at its forge, and in the pages of its server."""
    document["spec"]["bindings"][0]["subjects"] += [whoami(), f"github:{user()}", f"account:{user().lower()}"]


@click.command()
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), help="Where to work: a new or empty directory.  [default: a temporary one]"
)
@click.option("--local", is_flag=True, help="Reach the two machines by Ansible's local connection instead of sshd.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def demo(directory: Path | None, local: bool, debug: bool) -> int:
    """The example fleet, end to end, on this machine: no root, no server, nothing left behind but one directory."""
    del debug
    began = time.monotonic()
    root = _root(directory)
    with machines(LIVE, root / "machines", local=local) as running:
        made = Demo(root=root, machines=running)
        for chapter in (_planned, _applied, _ansible, _branch, _drift, _pull, _guarded, _machine):
            chapter(made)
        _summary(made, time.monotonic() - began)
        if is_asked() and click.confirm("\nStart the server on this fleet now? Ctrl-C stops it", default=False):
            made.serve()
    return 0


def is_asked() -> bool:
    """Whether somebody is there who can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty() and "CI" not in os.environ


def _root(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="octofleet-demo-"))
    if directory.exists() and any(directory.iterdir()):
        raise OctofleetError(f"{directory} is not empty", hint="give a new or an empty directory", code="not-empty")
    directory.mkdir(parents=True, exist_ok=True)
    return directory.resolve()


def example() -> Path:
    """The example repository: in the installed package, or beside the source."""
    package = Path(__file__).parents[1]
    for place in (package / "example_repo", package.parent / "example-repo"):
        if place.is_dir():
            return place
    raise OctofleetError(
        "the example repository is not part of this installation", hint="install Octofleet from its wheel or source", code="demo"
    )


def _title(number: int, text: str, why: str) -> None:
    click.echo(click.style(f"\n━━ {number}/{CHAPTERS}  {text}", bold=True))
    click.echo(click.style(f"   {why}", dim=True))


def _planned(made: Demo) -> None:
    _title(1, "A Git repository becomes a plan", "Two tenants, 23 hosts, four Linux families and a hypervisor, bare metal and virtual.")
    made.prepare(example())
    made.octofleet("validate", expect=0)
    made.plan(expect=2)


def _applied(made: Demo) -> None:
    by = "over SSH" if made.machines.private_key else "by its local connection (no sshd here)"
    _title(2, "The plan is applied, by two engines", f"Boot files are rendered and published; Ansible converges two machines {by}.")
    made.octofleet("apply", made.planned(), "--reason", "first apply", expect=0)
    click.echo(click.style("\nA second plan is empty, although it looks at everything again:", bold=True))
    made.octofleet("plan", "--refresh", expect=0)


def _ansible(made: Demo) -> None:
    _title(
        3, "Ansible is asked what it did", "Its tasks, one more playbook that runs once, what hosts say of themselves, and the inventory."
    )
    ask(made, _step)


def _branch(made: Demo) -> None:
    _title(
        4,
        "A branch changes one profile",
        "The plan of the branch against main: which hosts it reaches, and the file and line of each value.",
    )
    git = made.git()
    git.checkout(git.branches.local.create("berlin", git.head.peel(pygit2.Commit)))
    edit(made.fleet / PROFILES, _berlin)
    commit_all(made.fleet, "Machines of the Debian profile tell the time of Berlin")
    made.plan("--rev", "berlin", "--base", "main", expect=2)
    made.octofleet("explain", "host/shop/web-01", "spec.timezone", "--rev", "berlin", expect=0)
    click.echo(click.style("\nThe branch is merged; exactly the plan that was reviewed is applied:", bold=True))
    main = git.branches.local["main"]
    head = git.branches.local["berlin"].target
    main.set_target(head)
    git.checkout(git.branches.local["main"])
    made.octofleet("apply", made.planned(), "--reason", "merged berlin", expect=0)


def _berlin(document: Any) -> None:
    if document["metadata"]["name"] == "debian":
        document["spec"]["timezone"] = "Europe/Berlin"


def _drift(made: Demo) -> None:
    _title(
        5, "Somebody changes things by hand", "A published boot file, and a file on a machine. Both are found, called drift, and healed."
    )
    published = next(iter(sorted((made.root / "data" / "boot").rglob("preseed.cfg"))))
    published.write_text(published.read_text() + "# changed by hand\n")
    page = made.machines.hosts[0].home / "srv" / "www" / "index.html"
    page.write_text("<h1>changed by hand</h1>\n")
    made.octofleet("drift", expect=2)
    made.octofleet("drift", "--heal", "--approve", expect=0)
    made.octofleet("status", expect=0)


def _pull(made: Demo) -> None:
    from reconciler.server.demo_forge import BRANCH, DemoForge  # noqa: PLC0415 - slow to import

    _title(
        6,
        "A pull request, from open to converged",
        "A forge on loopback speaks GitHub's API: Octofleet plans the pull request, comments once, and applies what is merged.",
    )
    forge = DemoForge(git=made.root / "forge" / "fleet.git", author=user())
    git = made.git()
    git.checkout(git.branches.local.create(BRANCH, git.head.peel(pygit2.Commit)))
    edit(made.fleet / PROFILES, _htop)
    commit_all(made.fleet, "More tools for Debian machines")
    git.checkout(git.branches.local["main"])
    pygit2.clone_repository(str(made.fleet), str(forge.git), bare=True)
    pygit2.Repository(str(forge.git)).references.create(f"refs/heads/{BRANCH}", git.branches.local[BRANCH].target, force=True)
    with forge.running(), made.serving(forge) as server:
        _step("The branch is pushed, and the pull request opened.")
        forge.open()
        made.until(lambda: forge.statuses and forge.statuses[-1]["state"] == "success", "the status of the pull request")
        made.until(lambda: forge.comment, "the comment")
        (made.root / "comment.md").write_text(forge.comment)
        _quoted(forge.comment, most=MOST_LINES)
        click.echo(f"  all of it: {made.root / 'comment.md'}")
        _step("A comment asks for something, and is answered in place:  octofleet lock we are at it")
        forge.say("octofleet lock we are at it")
        made.until(lambda: "locked" in forge.comment, "the answer")
        _quoted("\n".join(line for line in forge.comment.splitlines() if "locked" in line))
        _step("It is merged. Octofleet applies it, and the same comment says so:")
        forge.merge()
        made.until(lambda: ": " in forge.comment and " done" in forge.comment, "what became of it")
        _quoted(forge.comment)
        _step("Pages and an API show the same to whom the roles let see it. The command asks the API, with a token:")
        made.octofleet("--server", server, "runs", "--limit", "1", expect=0, OCTOFLEET_TOKEN=made.token())
    _step(f"What the forge sent (->) and was told (<-):\n   {chr(10).join(f'   {call}' for call in forge.calls).strip()}")
    git.branches.local["main"].set_target(git.branches.local[BRANCH].target)
    git.reset(git.branches.local["main"].target, pygit2.enums.ResetMode.HARD)


def _htop(document: Any) -> None:
    if document["metadata"]["name"] == "debian":
        document["spec"].setdefault("packages", []).append("htop")


def _step(text: str) -> None:
    click.echo(click.style(f"\n{text}", bold=True))


def _quoted(text: str, most: int = 100) -> None:
    """The lines of a comment, without the tag that nobody sees."""
    for line in text.strip().removeprefix(TAG).strip().splitlines()[:most]:
        click.echo(f"  {click.style('│', dim=True)} {line}")


def user() -> str:
    """Who runs the demo, as the forge of the demo calls them."""
    return whoami().partition(":")[2]


def _guarded(made: Demo) -> None:
    _title(7, "Somebody deletes a protected host in Git", "The plan shows what would be lost, and the guard that stops it.")
    (made.fleet / DATABASE).unlink()
    commit_all(made.fleet, "Remove db-01")
    made.plan(expect=3)
    click.echo(click.style("\nApplying it is refused too:", bold=True))
    made.octofleet("apply", made.planned(), "--approve", expect=3)


def _machine(made: Demo) -> None:
    why = lacking()
    _title(
        8,
        "A machine with an empty disk becomes a host",
        "A commit raises install.generation; its machine boots from the network once, and from its disk ever after.",
    )
    _step(
        f"The machine is simulated, as {why}. For a virtual one: apt-get install {PACKAGES}"
        if why
        else "The machine is a virtual one of QEMU, in software: a minute. Its installer is a stand-in that does what one does in short."
    )
    port, place = free_port(), made.root / "machine"
    place.mkdir()
    if not why:
        make(made.root / "media", NETBOOTED)
    edit(made.fleet / WEB, lambda document: _bare_metal(document, port))
    commit_all(made.fleet, f"{NETBOOTED} is installed over the network")
    simulated = Simulated(port=port, mac=MAC, says=_machine_says)
    machine = simulated if why else Virtual(port=port, mac=MAC, says=_machine_says, directory=place)
    with made.booting(port):
        made.plan("--scope", f"host/shop/{NETBOOTED}", expect=3)
        with made.applying(made.planned(), "--approve", "--reason", "a new machine"):
            made.until(made.is_armed, f"{NETBOOTED} armed")
            if machine is simulated:
                made.until(simulated.is_awaited, f"the boot server that knows {NETBOOTED}")
            _step("It is armed, and its run waits for the machine, which is switched on now:")
            try:
                machine.boot()
            except OctofleetError as error:
                _step(f"{error.message} ({error.hint}). This program asks instead, as a machine would:")
                machine = simulated
                machine.boot()
        _step("It is installed, and the same run has handed it to its roles. It is switched on again:")
        machine.boot()
        made.octofleet("plan", "--scope", f"host/shop/{NETBOOTED}", expect=0)


def _bare_metal(document: Any, port: int) -> None:
    if document["metadata"]["name"] == NETBOOTED:
        media = f"http://{GATEWAY}:{port}/media"
        document["spec"]["profile"] = "debian-metal"
        document["spec"]["firmware"] = "bios"
        document["spec"]["install"] = {"generation": 1, "kernel": f"{media}/linux", "initrd": f"{media}/initrd.gz"}


def _machine_says(line: str) -> None:
    click.echo(f"  {click.style('│', dim=True)} {line}")


def _summary(made: Demo, took_s: float) -> None:
    _title(CHAPTERS, "Done", f"in {took_s:.0f} s")
    command = sys.argv[0] if Path(sys.argv[0]).name == "octofleet" else "octofleet"
    for text in (
        "One plan covered boot files and configuration; it was stored, applied exactly, and empty afterwards.",
        "Each change named its cause: commit, drift, or what was pending. A protected host could not be lost.",
        "A machine was installed for one commit that said so, and boots from its disk now.",
        "",
        f"Look around:     {made.fleet}   the repository",
        f"                 {made.root / 'data' / 'boot'}   the published boot files",
        f"                 {command} runs --data-dir {made.root / 'data'}",
        "The server:      open the link that it prints, once; your account has to be called "
        f"{user().lower()}, as the fleet says who may see it",
        f"                 {command} {shlex.join(made.server)}",
        f"Start your own:  {command} init my-fleet   (README.md has the tour)",
        f"Clean up:        rm -r {made.root}",
    ):
        click.echo(f"   {text}")
