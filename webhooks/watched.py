"""The forges of the settings with what is followed there, and what events mean to it.

In: events, from deliveries or polls. Out: what is to be written for them (`Effects`), in an order that is the same for everybody, so that those
who write at once never wait for each other in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.settings import Followed
from reconciler.settings import Forge as Rules
from reconciler.store.engine import Connection
from reconciler.store.followed import ask
from reconciler.store.pulls import Command, PullKey, ask_pull, open_onto, save_command
from reconciler.wiring import where
from webhooks.commands import is_command
from webhooks.forge import Commented, Event, Forge, PullChanged, Pushed

BODY_MOST, NAME_MOST, NUMBER_MOST = 4_000, 255, 1 << 31
"""Characters of a command that are kept, of a name that are believed; above all numbers of pull requests."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A repository that is followed: its name at the forge as the settings write it, where it is fetched from, its branch (empty: the default one)."""

    name: str
    location: str
    branch: str


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A forge and the projects there that are followed, by name in lower case: forges tell no cases apart. `accounts`: under which login we write at each
    forge, as far as that is known yet."""

    forge: Forge
    rules: Rules
    projects: Mapping[str, Project]
    accounts: dict[str, str]

    @property
    def name(self) -> str:
        """As in the settings."""
        return self.forge.name


def watched(rules: Rules, forge: Forge, repositories: Iterable[Followed], accounts: dict[str, str]) -> Watched:
    """A forge with what is followed there."""
    own = [followed for followed in repositories if followed.forge == rules.name]
    projects = [Project(name=one.project, location=where(one.location), branch=one.branch) for one in own]
    return Watched(forge=forge, rules=rules, projects={one.name.casefold(): one for one in projects}, accounts=accounts)


@dataclass(kw_only=True)
class Effects:
    """What is to be written: pull requests to look at, and commands, each with where it is fetched from; branches that moved, by location. The pull
    request of a command is looked at if the command is new."""

    pulls: dict[PullKey, str] = field(default_factory=dict)
    commands: dict[tuple[str, str], tuple[Command, str]] = field(default_factory=dict)
    moved: set[tuple[str, str]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.pulls or self.commands or self.moved)

    def join(self, other: "Effects") -> None:
        """These too."""
        self.pulls |= other.pulls
        self.commands |= other.commands
        self.moved |= other.moved

    def write(self, connection: Connection) -> None:
        """Write them."""
        asked = {key: location for location, branch in self.moved for key in open_onto(connection, location, branch)} | self.pulls
        for _, (command, location) in sorted(self.commands.items(), key=lambda item: item[0]):
            if save_command(connection, command):
                asked[PullKey(forge=command.forge, project=command.project, number=command.number)] = location
        for key in sorted(asked):
            ask_pull(connection, key, asked[key])
        for location in sorted({location for location, _ in self.moved}):
            ask(connection, location)


def effects(of: Watched, events: Sequence[Event]) -> Effects:
    """What events mean: nothing, for projects that nobody follows, and comments that say nothing to us."""
    found = Effects()
    for event in events:
        project = of.projects.get(event.project.casefold())
        if project is None:
            continue
        match event:
            case PullChanged(number=number) if 0 < number < NUMBER_MOST:
                found.pulls[_key(of, project, number)] = project.location
            case Commented(number=number) if 0 < number < NUMBER_MOST and _is_command(of, event):
                found.commands[of.name, event.comment] = (_command(_key(of, project, number), event), project.location)
            case Pushed(branch=branch) if project.branch in ("", branch):
                found.moved.add((project.location, plain(branch)))
    return found


def _key(of: Watched, project: Project, number: int) -> PullKey:
    return PullKey(forge=of.name, project=project.name, number=number)


def _is_command(of: Watched, said: Commented) -> bool:
    own = of.accounts.get(of.name, "")
    names = said.author and len(said.author) <= NAME_MOST and len(said.comment) <= NAME_MOST
    return bool(names) and said.author.casefold() != own.casefold() and is_command(said.body)


def _command(key: PullKey, said: Commented) -> Command:
    author, comment, body = (plain(text) for text in (said.author, said.comment, said.body[:BODY_MOST]))
    return Command(forge=key.forge, comment=comment, project=key.project, number=key.number, author=author, body=body, at=said.at)


def plain(text: str) -> str:
    """Text that every database takes: no NUL, and nothing that is no character."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
