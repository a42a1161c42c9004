"""Gitea and Forgejo: their webhooks and their API (v1). A project is `OWNER/REPOSITORY`.

An identity is `gitea:LOGIN`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from reconciler.settings import Forge as Rules
from webhooks.forge import (
    Commented,
    Delivery,
    Denied,
    Event,
    Forge,
    Pull,
    PullChanged,
    PullState,
    Pushed,
    Status,
    Unreadable,
)  # fmt: skip
from webhooks.forges import Token
from webhooks.http import Http, decoded, linked, path_of
from webhooks.reading import Commit, Id, MaybeCommit, Name, Number, SignedReader, branch_of, known, seconds
from webhooks.rest import RestClient, Said, api_url

PAGE = 50
"""The most that they give at once, unless their settings say otherwise."""


class _Repository(Struct):
    full_name: Name


class _User(Struct):
    login: Name


class _PullHook(Struct):
    number: Number
    repository: _Repository


class _Comment(Struct):
    id: Id
    body: str
    created_at: str
    updated_at: str = ""
    user: _User | None = None
    original_author: str = ""


class _Issue(Struct):
    number: Number
    pull_request: dict[str, object] | None = None


class _CommentHook(Struct):
    action: str
    issue: _Issue
    comment: _Comment
    repository: _Repository
    is_pull: bool = False


class _PushHook(Struct):
    ref: Name
    before: Commit
    after: Commit
    repository: _Repository


class GiteaReader(SignedReader):
    """Deliveries of Gitea and Forgejo."""

    signatures = ("x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256")
    ids = ("x-forgejo-delivery", "x-gitea-delivery")
    kinds = ("x-forgejo-event", "x-gitea-event")

    def events(self, delivery: Delivery) -> Sequence[Event]:
        """See `Reader`. Every kind that begins with `pull_request` (reviews, labels, pushes) is of a pull request."""
        kind = self.kind(delivery)
        if kind.startswith("pull_request"):
            hook = decoded(delivery.body, _PullHook, f"the delivery ({kind})")
            return [PullChanged(project=hook.repository.full_name, number=hook.number)]
        if kind == "issue_comment":
            return _commented(decoded(delivery.body, _CommentHook, "the delivery (issue_comment)"))
        if kind == "push":
            return _pushed(decoded(delivery.body, _PushHook, "the delivery (push)"))
        return []


def _commented(hook: _CommentHook) -> Sequence[Event]:
    """Only what somebody wrote just now: who may push may edit the comments of others."""
    said = hook.comment
    if hook.action != "created" or said.user is None or not (hook.is_pull or hook.issue.pull_request is not None):
        return []
    project, author = hook.repository.full_name, said.user.login
    event = Commented(
        project=project, number=hook.issue.number, comment=str(said.id), author=author, body=said.body, at=seconds(said.created_at)
    )
    return [event]


def _pushed(hook: _PushHook) -> Sequence[Event]:
    branch = branch_of(hook.ref)
    found = Pushed(project=hook.repository.full_name, branch=branch, before=known(hook.before), after=known(hook.after))
    return [found] if branch else []


class _Side(Struct):
    ref: Name
    sha: MaybeCommit = ""
    repo_id: int = -1


class _Pull(Struct):
    number: Number
    title: str
    state: Literal["open", "closed"]
    html_url: str
    head: _Side
    base: _Side
    user: _User | None = None
    merged: bool = False
    merge_commit_sha: MaybeCommit | None = None
    draft: bool = False


class _Made(Struct):
    id: Id


class GiteaClient(RestClient):
    """Calls with an access token that may read and write issues and repositories, and read its user."""

    async def pull(self, project: str, number: int) -> Pull:
        """See `Client`."""
        return _pull(project, await self._http.get(_repository(project) + path_of("pulls", number), _Pull))

    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """See `Client`. They list those onto all branches."""
        pages = self._http.pages(_repository(project) + "/pulls", list[_Pull], linked, state="open", limit=PAGE)
        found = {one.number: one async for page in pages for one in page if branch in ("", one.base.ref)}
        return [_pull(project, one) for one in found.values()]

    async def open_pull(self, project: str, branch: str, onto: str, title: str, body: str) -> Pull:
        """See `Client`."""
        said = {"head": branch, "base": onto, "title": title, "body": body}
        return _pull(project, (await self._http.call("POST", _repository(project) + "/pulls", json=said)).read(_Pull))

    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """See `Client`."""
        body = {"state": str(status.verdict), "context": status.context, "description": status.text, "target_url": status.url}
        await self._http.call("POST", _repository(project) + path_of("statuses", commit), json=body)

    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """See `Client`. Their settings say which reactions there are; without this one it is refused."""
        path = _repository(project) + path_of("issues", "comments", comment, "reactions")
        with suppress(Denied):
            await self._http.call("POST", path, json={"content": "eyes"})

    async def _said(self, project: str, number: int, since: float) -> AsyncIterator[Said]:
        """`since` of the API means the time of the last edit, which is never before that of writing."""
        at = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = _repository(project) + path_of("issues", number, "comments")
        async for page in self._http.pages(path, list[_Comment], linked, **({"since": at} if since > 0 else {})):
            for one in page:
                yield _comment(one)

    async def _edit(self, project: str, number: int, comment: str, body: str) -> None:
        await self._http.call("PATCH", _repository(project) + path_of("issues", "comments", comment), json={"body": body})

    async def _add(self, project: str, number: int, body: str) -> str:
        path = _repository(project) + path_of("issues", number, "comments")
        return str((await self._http.call("POST", path, json={"body": body})).read(_Made).id)

    async def _whoami(self) -> str:
        return (await self._http.get("/user", _User)).login


def _repository(project: str) -> str:
    owner, _, name = project.partition("/")
    return path_of("repos", owner, name)


def _pull(project: str, found: _Pull) -> Pull:
    """A head of `refs/pull/…` is no branch of the repository, although it lies there: anybody who can read may push one for review (AGit), so it is as
    little trusted as a fork."""
    if not found.head.sha:
        raise Unreadable(f"the pull request {project}#{found.number} has no head")
    state = PullState.MERGED if found.merged else PullState.OPEN if found.state == "open" else PullState.CLOSED
    return Pull(
        project=project,
        number=found.number,
        title=found.title,
        author=found.user.login if found.user else "",
        state=state,
        head=found.head.sha,
        head_branch=found.head.ref,
        base_branch=found.base.ref,
        fork=found.head.repo_id != found.base.repo_id or found.head.ref.startswith("refs/"),
        url=found.html_url,
        fetch=f"refs/pull/{found.number}/head",
        merged_as=(found.merge_commit_sha or "") if state is PullState.MERGED else "",
        draft=found.draft,
    )


def _comment(one: _Comment) -> Said:
    """One that was migrated has an `original_author`, who is nobody here."""
    author = one.user.login if one.user else ""
    original = one.created_at == one.updated_at and not one.original_author
    return Said(id=str(one.id), author=author, body=one.body, at=seconds(one.created_at), original=original)


def make(rules: Rules, token: Token) -> Forge:
    """A Gitea or Forgejo of the settings, which have its URL. Raises `OctofleetError`."""
    http = Http(api_url(rules, "/api/v1"), lambda: {"Authorization": f"token {token()}"}, ca_file=rules.ca_file)
    return Forge(name=rules.name, kind="gitea", reader=GiteaReader(), client=GiteaClient(http))
