"""The contract of a forge: what it sends, as events, and what it is asked and told, as calls. One file per forge implements it.

Everything a forge sends is a hint to look: the state of a pull request is always what `pull` gives. So the order in which deliveries arrive does not
matter, and one that comes twice does no harm.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class PullState(StrEnum):
    """Where a pull request is in its life."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull request as its forge has it now.

    `project` is the base repository as the forge's API names it (`acme/fleet`); `author` the login of who opened it, as the forge writes it; `head` and
    `merged_as` are commits, the latter empty unless it is merged; `fork`: its head is in another repository; `fetch` is the ref of the base repository
    that holds its head (`refs/pull/7/head`), or empty where the forge has none: then `head_branch` of the URL `head_url` does. `url` is its page.
    """

    project: str
    number: int
    title: str
    author: str
    state: PullState
    head: str
    head_branch: str
    base_branch: str
    fork: bool
    url: str
    fetch: str = ""
    head_url: str = ""
    merged_as: str = ""
    draft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullChanged:
    """A pull request was opened, closed, merged, pushed to, or changed otherwise."""

    project: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commented:
    """Somebody wrote a comment on a pull request. `comment` is its id at the forge, `author` a login, `at` seconds since the epoch. Edited comments are no
    events: a command is what was written first."""

    project: str
    number: int
    comment: str
    author: str
    body: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A branch points to another commit; `before` and `after` are empty for one that is new or gone."""

    project: str
    branch: str
    before: str
    after: str


Event = PullChanged | Commented | Pushed


class Verdict(StrEnum):
    """What a commit status says: every forge has these in words of its own."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A commit status. `context` tells it from those of others (`octofleet`); `text` is one line of at most 140 characters."""

    context: str
    verdict: Verdict
    text: str
    url: str = ""


class Unverified(Exception):
    """A delivery that is not signed as it must be, or too old. Its text has nothing of the secret or the body."""


class Unreadable(Exception):
    """A delivery or an answer that is not as the forge documents it; the text says what is missing."""


class Gone(Exception):
    """What was asked about is not there (any more): a project, a pull request, a comment."""


class Later(Exception):
    """The forge cannot answer now, or wants fewer calls. `after_s`: how long to wait, as it says; else a guess."""

    def __init__(self, message: str, *, after_s: float = 10.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Denied(Exception):
    """The forge refuses the token, or what it may do; somebody has to change that. The text has no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came in one request: the headers in lower case, and the body as it was sent."""

    headers: Mapping[str, str]
    body: bytes


class Reader(ABC):
    """What a forge sends. Pure: verifying and reading touch nothing."""

    @abstractmethod
    def verify(self, delivery: Delivery, secrets: Sequence[str], now: float) -> None:
        """Return if the delivery is signed with, or carries, one of the secrets; compares in constant time. Raises `Unverified`."""

    @abstractmethod
    def id(self, delivery: Delivery) -> str:
        """What tells this delivery from any other, the same when the forge sends it again; a hash of kind and body where it gives none."""

    @abstractmethod
    def events(self, delivery: Delivery) -> Sequence[Event]:
        """What happened, none for kinds that do not matter here. Raises `Unreadable`."""


class Client(ABC):
    """What a forge is asked and told. Raises `Gone`, `Later`, `Denied` and `Unreadable`; cancelled at any await."""

    @abstractmethod
    async def pull(self, project: str, number: int) -> Pull:
        """One pull request, as it is now."""

    @abstractmethod
    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """All open pull requests onto a branch, or with an empty one onto any; cheap (conditional) where nothing has changed."""

    @abstractmethod
    async def open_pull(self, project: str, branch: str, onto: str, title: str, body: str) -> Pull:
        """Open a pull request from a branch of the project onto another. One that is open already is refused by most forges: look first."""

    @abstractmethod
    async def comments(self, project: str, number: int, since: float) -> Sequence[Commented]:
        """The comments of a pull request that were written at or after that time, the oldest first, ours included."""

    @abstractmethod
    async def put_comment(self, project: str, number: int, body: str, tag: str, known: str) -> str:
        """Have exactly one comment of ours with this body: edits the comment `known`, or with an empty or vanished one the oldest of our own account's
        that holds the hidden `tag`, or makes a new one. Gives the comment's id."""

    @abstractmethod
    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """Set a commit status; the same one twice does no harm."""

    @abstractmethod
    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """Show who wrote a command that it was heard (a reaction), where the forge has such a thing; else nothing."""

    @abstractmethod
    async def account(self) -> str:
        """The login under which we write: its comments are never commands."""

    def calls_left(self) -> int | None:
        """How many calls the forge still takes in this period, as it said last; None where it does not say."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """A forge of the settings: its name there, the kind that identities of its users begin with (`github`, `gitlab`, `gitea`, `bitbucket`). `html`: its
    Markdown knows HTML, so that comments can fold and hide; else a tag is hidden as a link that nothing uses (`[//]: # (TAG)`)."""

    name: str
    kind: str
    reader: Reader
    client: Client
    html: bool = True
