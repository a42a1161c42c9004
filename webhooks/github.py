"""GitHub and GitHub Enterprise Server: what their webhooks say. The client is in `github_client.py`.

Deliveries are signed with HMAC-SHA-256 over the body. GitHub tells no time of a delivery and never sends one again by itself.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from reconciler.settings import Forge as Rules
from webhooks.forge import Commented, Delivery, Event, Forge, PullChanged, Pushed, Reader, Unreadable, Unverified
from webhooks.forges import Token

SIGNATURE, DELIVERY, EVENT = "x-hub-signature-256", "x-github-delivery", "x-github-event"
CHANGES = frozenset({"opened", "reopened", "closed", "synchronize", "edited", "ready_for_review", "converted_to_draft"})
"""Actions on a pull request after which it is to be looked at; labels and reviewers matter to nobody here."""
NO_COMMIT = "0" * 40
T = TypeVar("T")


class Login(msgspec.Struct, frozen=True):
    """A user; an account that was deleted is null instead."""

    login: str


class Repository(msgspec.Struct, frozen=True):
    """A repository by its name, `acme/fleet`."""

    full_name: str


class Comment(msgspec.Struct, frozen=True):
    """A comment, as deliveries and the API have it."""

    id: int
    user: Login | None
    body: str | None
    created_at: datetime
    updated_at: datetime | None = None

    @property
    def original(self) -> bool:
        """Whether it says what its author wrote first: others may edit it too."""
        return self.updated_at in (None, self.created_at)

    def said(self, project: str, number: int) -> Commented:
        """As an event."""
        author, at = self.user.login if self.user else "", self.created_at.timestamp()
        return Commented(project=project, number=number, comment=str(self.id), author=author, body=self.body or "", at=at)


class _PullRequest(msgspec.Struct, frozen=True):
    action: str
    number: int
    repository: Repository


class _Issue(msgspec.Struct, frozen=True):
    number: int
    pull_request: dict[str, Any] | None = None


class _IssueComment(msgspec.Struct, frozen=True):
    action: str
    issue: _Issue
    comment: Comment
    repository: Repository


class _Push(msgspec.Struct, frozen=True):
    ref: str
    before: str
    after: str
    repository: Repository


class GithubReader(Reader):
    """Deliveries of GitHub."""

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: float) -> None:
        """The body is signed with one of the secrets; the old signature by SHA-1 does not count."""
        said = delivery.headers.get(SIGNATURE, "").encode("utf-8", "surrogateescape")
        made = [b"sha256=" + hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest().encode() for secret in secrets]
        if not any([hmac.compare_digest(said, one) for one in made]):  # noqa: C419 - each of them is compared, whichever it is
            raise Unverified("the signature is not that of any secret")

    def id(self, delivery: Delivery) -> str:
        """GitHub's own, which is the same when somebody has it sent again."""
        found = delivery.headers.get(DELIVERY, "")
        return found or hashlib.sha256(delivery.headers.get(EVENT, "").encode("utf-8", "replace") + b"\n" + delivery.body).hexdigest()

    def events(self, delivery: Delivery) -> Sequence[Event]:
        """Pull requests that changed, comments that were made on them, branches that moved."""
        match delivery.headers.get(EVENT, ""):
            case "pull_request":
                changed = read(delivery.body, _PullRequest)
                return [PullChanged(project=changed.repository.full_name, number=changed.number)] if changed.action in CHANGES else []
            case "issue_comment":
                made = read(delivery.body, _IssueComment)
                if made.action != "created" or made.issue.pull_request is None or made.comment.user is None:
                    return []
                return [made.comment.said(made.repository.full_name, made.issue.number)]
            case "push":
                push = read(delivery.body, _Push)
                kind, _, branch = push.ref.partition("refs/heads/")
                before, after = ("" if commit == NO_COMMIT else commit for commit in (push.before, push.after))
                return [] if kind or not branch else [Pushed(project=push.repository.full_name, branch=branch, before=before, after=after)]
            case "":
                raise Unreadable("the header X-GitHub-Event is missing")
            case _:
                return []


def read(body: bytes, of: type[T]) -> T:
    """JSON as that type; what it has besides is passed over. Raises `Unreadable`."""
    try:
        return msgspec.json.decode(body, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"not as GitHub documents it: {error}") from None


def make(rules: Rules, token: Token) -> Forge:
    """GitHub as the settings describe it."""
    from webhooks.github_client import GithubClient  # noqa: PLC0415 - slow to import

    return Forge(name=rules.name, kind="github", reader=GithubReader(), client=GithubClient(rules, token))
