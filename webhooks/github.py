"""GitHub and GitHub Enterprise Server: what their webhooks say. The client is in `github_client.py`.

Deliveries are signed with HMAC-SHA-256 over the body. GitHub tells no time of a delivery and never sends one again by itself.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from reconciler.settings import Forge as Rules
from webhooks.forge import Commented, Delivery, Event, Forge, PullChanged, Pushed, Unreadable
from webhooks.forges import Token
from webhooks.http import decoded
from webhooks.reading import Commit, Id, Name, Number, SignedReader, branch_of, known

EVENT = "x-github-event"
CHANGES = frozenset({"opened", "reopened", "closed", "synchronize", "edited", "ready_for_review", "converted_to_draft"})
"""Actions on a pull request after which it is to be looked at; labels and reviewers matter to nobody here."""
Time = Annotated[datetime, msgspec.Meta(tz=True)]
T = TypeVar("T")


class Login(msgspec.Struct, frozen=True):
    """A user; an account that was deleted is null instead."""

    login: Name


class Repository(msgspec.Struct, frozen=True):
    """A repository by its name, `acme/fleet`."""

    full_name: Name


class Comment(msgspec.Struct, frozen=True):
    """A comment, as deliveries and the API have it."""

    id: Id
    user: Login | None
    body: str | None
    created_at: Time
    updated_at: Time | None = None

    def said(self, project: str, number: int) -> Commented:
        """As an event."""
        author, at = self.user.login if self.user else "", self.created_at.timestamp()
        return Commented(project=project, number=number, comment=str(self.id), author=author, body=self.body or "", at=at)


class _PullRequest(msgspec.Struct, frozen=True):
    action: str
    number: Number
    repository: Repository


class _Issue(msgspec.Struct, frozen=True):
    number: Number
    pull_request: dict[str, Any] | None = None


class _IssueComment(msgspec.Struct, frozen=True):
    action: str
    issue: _Issue
    comment: Comment
    repository: Repository


class _Push(msgspec.Struct, frozen=True):
    ref: Name
    before: Commit
    after: Commit
    repository: Repository


class GithubReader(SignedReader):
    """Deliveries of GitHub. The old signature by SHA-1 does not count; the id is the same when somebody has it sent again."""

    signatures, ids, kinds = ("x-hub-signature-256",), ("x-github-delivery",), (EVENT,)

    def events(self, delivery: Delivery) -> Sequence[Event]:
        """Pull requests that changed, comments that were made on them, branches that moved."""
        match self.kind(delivery):
            case "pull_request":
                changed = _read(delivery, _PullRequest)
                return [PullChanged(project=changed.repository.full_name, number=changed.number)] if changed.action in CHANGES else []
            case "issue_comment":
                made = _read(delivery, _IssueComment)
                if made.action != "created" or made.issue.pull_request is None or made.comment.user is None:
                    return []
                return [made.comment.said(made.repository.full_name, made.issue.number)]
            case "push":
                push = _read(delivery, _Push)
                project, branch = push.repository.full_name, branch_of(push.ref)
                return [Pushed(project=project, branch=branch, before=known(push.before), after=known(push.after))] if branch else []
            case "":
                raise Unreadable("the header X-GitHub-Event is missing")
            case _:
                return []


def _read(delivery: Delivery, of: type[T]) -> T:
    return decoded(delivery.body, of, f"the delivery ({delivery.headers[EVENT]})", strict=True)


def make(rules: Rules, token: Token) -> Forge:
    """GitHub as the settings describe it."""
    from webhooks.github_client import GithubClient  # noqa: PLC0415 - slow to import

    return Forge(name=rules.name, kind="github", reader=GithubReader(), client=GithubClient(rules, token))
