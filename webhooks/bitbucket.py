"""Bitbucket Cloud: its webhooks and its REST API (2.0). A project is `WORKSPACE/REPOSITORY`.

An identity is `bitbucket:ACCOUNT_ID`, Atlassian's id of an account, which never changes and nobody can choose; without one (programs, teams) it is the
UUID. Nicknames and display names are neither unique nor fixed, so they are never asked.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

from reconciler.settings import Forge as Rules
from webhooks.forge import (
    Commented,
    Delivery,
    Event,
    Forge,
    Gone,
    Later,
    Pull,
    PullChanged,
    PullState,
    Pushed,
    Status,
    Unreadable,
    Verdict,
)  # fmt: skip
from webhooks.forges import Token
from webhooks.http import Answer, Http, decoded, path_of
from webhooks.reading import Commit, Id, Name, Number, SignedReader, seconds
from webhooks.rest import RestClient, Said, api_url, basic, bearer

KEY_MOST = 40
"""How long the key of a build status may be."""
EDITED_S = 1.0
"""A comment is stored a moment after it is written; what was changed later than that was edited."""
KNOWN_COMMITS = 1000
Short = Annotated[str, Meta(pattern=r"\A[0-9a-f]{7,64}\Z")]


class _Account(Struct):
    account_id: str | None = None
    uuid: str | None = None

    @property
    def login(self) -> str:
        """What tells it from any other."""
        return self.account_id or self.uuid or ""


class _Link(Struct):
    href: str


class _Links(Struct):
    html: _Link | None = None


class _Repository(Struct):
    full_name: Name
    links: _Links = field(default_factory=_Links)


class _Content(Struct):
    raw: str = ""


class _Comment(Struct):
    id: Id
    created_on: str
    updated_on: str | None = None
    content: _Content = field(default_factory=_Content)
    user: _Account | None = None
    deleted: bool = False
    pending: bool = False


class _Numbered(Struct):
    id: Number


class _PullHook(Struct):
    repository: _Repository
    pullrequest: _Numbered


class _CommentHook(_PullHook):
    comment: _Comment


class _Target(Struct):
    hash: Commit


class _Ref(Struct):
    type: str
    name: Name
    target: _Target


class _Change(Struct):
    new: _Ref | None = None
    old: _Ref | None = None


class _Push(Struct):
    changes: list[_Change]


class _PushHook(Struct):
    repository: _Repository
    push: _Push


class BitbucketReader(SignedReader):
    """Deliveries of Bitbucket Cloud."""

    signatures, ids, kinds = ("x-hub-signature",), ("x-request-uuid",), ("x-event-key",)

    def events(self, delivery: Delivery) -> Sequence[Event]:
        """See `Reader`."""
        kind = self.kind(delivery)
        what = f"the delivery ({kind[:60]})"
        if kind == "pullrequest:comment_created":
            return _commented(decoded(delivery.body, _CommentHook, what))
        if kind.startswith("pullrequest:") and not kind.startswith("pullrequest:comment_"):
            hook = decoded(delivery.body, _PullHook, what)
            return [PullChanged(project=hook.repository.full_name, number=hook.pullrequest.id)]
        if kind == "repo:push":
            return _pushed(decoded(delivery.body, _PushHook, what))
        return []


def _commented(hook: _CommentHook) -> Sequence[Event]:
    said = _said(hook.comment)
    if not said.original or not said.author:
        return []
    project, number = hook.repository.full_name, hook.pullrequest.id
    return [Commented(project=project, number=number, comment=said.id, author=said.author, body=said.body, at=said.at)]


def _pushed(hook: _PushHook) -> Sequence[Event]:
    found = []
    for change in hook.push.changes:
        there = change.new or change.old
        if there is not None and there.type == "branch":
            before, after = (side.target.hash if side else "" for side in (change.old, change.new))
            found.append(Pushed(project=hook.repository.full_name, branch=there.name, before=before, after=after))
    return found


def _said(one: _Comment) -> Said:
    at = seconds(one.created_on)
    edited = one.updated_on is not None and seconds(one.updated_on) - at > EDITED_S
    author = one.user.login if one.user else ""
    return Said(id=str(one.id), author=author, body=one.content.raw, at=at, original=not edited and not one.deleted and not one.pending)


class _Hash(Struct):
    hash: Short


class _Branch(Struct):
    name: Name


class _Side(Struct):
    branch: _Branch
    commit: _Hash | None = None
    repository: _Repository | None = None


class _Pull(Struct):
    id: Number
    title: str
    state: str
    source: _Side
    destination: _Side
    author: _Account | None = None
    merge_commit: _Hash | None = None
    links: _Links = field(default_factory=_Links)
    draft: bool = False


class _Page(Struct):
    next: str = ""


class _Pulls(_Page):
    values: list[_Pull] = []


class _Comments(_Page):
    values: list[_Comment] = []


class _Commits(Struct):
    values: list[_Target] = []


STATES = {
    "OPEN": PullState.OPEN, "QUEUED": PullState.OPEN, "MERGED": PullState.MERGED, "DECLINED": PullState.CLOSED, "SUPERSEDED": PullState.CLOSED,
}  # fmt: skip
WORDS = {Verdict.PENDING: "INPROGRESS", Verdict.SUCCESS: "SUCCESSFUL", Verdict.FAILURE: "FAILED", Verdict.ERROR: "FAILED"}


class BitbucketClient(RestClient):
    """Calls with an API token of an account, whose e-mail address is `user` in the settings, or with an access token. There are no reactions."""

    def __init__(self, http: Http) -> None:
        super().__init__(http)
        self._commits: OrderedDict[tuple[str, int, str], str] = OrderedDict()

    async def pull(self, project: str, number: int) -> Pull:
        """See `Client`."""
        return await self._pull(project, await self._http.get(_request(project, number), _Pull))

    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """See `Client`."""
        name = branch.replace("\\", "\\\\").replace('"', '\\"')
        query = 'state="OPEN"' + (f' AND destination.branch.name="{name}"' if branch else "")
        pages = self._http.pages(_repository(project) + "/pullrequests", _Pulls, _next, q=query, pagelen=50)
        onto = (one async for page in pages for one in page.values if branch in ("", one.destination.branch.name))
        found = {one.id: one async for one in onto if one.source.commit}
        return [await self._pull(project, one) for one in found.values()]

    async def open_pull(self, project: str, branch: str, onto: str, title: str, body: str) -> Pull:
        """See `Client`."""
        ends = {"source": {"branch": {"name": branch}}, "destination": {"branch": {"name": onto}}}
        answer = await self._http.call("POST", _repository(project) + "/pullrequests", json={"title": title, "description": body} | ends)
        return await self._pull(project, answer.read(_Pull))

    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """See `Client`. A status must have a URL; that of the commit, if it has none of its own."""
        url = status.url or f"https://bitbucket.org/{project}/commits/{commit}"
        body = {"key": _key(status.context), "name": status.context, "state": WORDS[status.verdict], "description": status.text, "url": url}
        await self._http.call("POST", _repository(project) + path_of("commit", commit, "statuses", "build"), json=body)

    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """See `Client`. Nothing: there are no reactions."""

    async def _said(self, project: str, number: int, since: float) -> AsyncIterator[Said]:
        path = _request(project, number) + "/comments"
        async for page in self._http.pages(path, _Comments, _next, sort="-created_on", pagelen=100):
            for one in page.values:
                if not one.deleted and not one.pending:
                    yield _said(one)
            if page.values and seconds(page.values[-1].created_on) < since:
                return

    async def _edit(self, project: str, number: int, comment: str, body: str) -> None:
        answer = await self._http.call("PUT", _request(project, number) + path_of("comments", comment), json={"content": {"raw": body}})
        if answer.read(_Comment).deleted:
            raise Gone(f"{answer.what}: the comment is deleted")

    async def _add(self, project: str, number: int, body: str) -> str:
        answer = await self._http.call("POST", _request(project, number) + "/comments", json={"content": {"raw": body}})
        return str(answer.read(_Comment).id)

    async def _whoami(self) -> str:
        found = await self._http.get("/user", _Account)
        if not found.login:
            raise Unreadable("GET /user: neither account_id nor uuid")
        return found.login

    async def _pull(self, project: str, found: _Pull) -> Pull:
        if found.state not in STATES:
            raise Unreadable(f"a pull request has the state {found.state[:40]!r}, which is not documented")
        if found.source.commit is None:
            raise Gone(f"the branch of {project}#{found.id} is gone, and its head with it")
        state, source = STATES[found.state], found.source.repository
        merged = found.merge_commit if state is PullState.MERGED else None
        return Pull(
            project=project,
            number=found.id,
            title=found.title,
            author=found.author.login if found.author else "",
            state=state,
            head=await self._head(project, found.id, found.source.commit.hash),
            head_branch=found.source.branch.name,
            base_branch=found.destination.branch.name,
            fork=source is None or found.destination.repository is None or source.full_name != found.destination.repository.full_name,
            url=found.links.html.href if found.links.html else "",
            head_url=f"{source.links.html.href}.git" if source and source.links.html else "",
            merged_as=await self._whole(project, merged.hash) if merged else "",
            draft=found.draft,
        )

    async def _head(self, project: str, number: int, short: str) -> str:
        """The commit that a pull request shortens to 12 digits: that one of its own commits, so that a fork need not be readable."""
        key = (project, number, short)
        if key not in self._commits:
            listed = await self._http.get(_request(project, number) + "/commits", _Commits, pagelen=100)
            found = [one.hash for one in listed.values if one.hash.startswith(short)]
            if len(found) != 1:
                raise Later(f"Bitbucket does not list {short} among the commits of {project}#{number} yet", after_s=2.0)
            self._remember(key, found[0])
        return self._commits[key]

    async def _whole(self, project: str, short: str) -> str:
        key = (project, 0, short)
        if key not in self._commits:
            self._remember(key, (await self._http.get(_repository(project) + path_of("commit", short), _Target)).hash)
        return self._commits[key]

    def _remember(self, key: tuple[str, int, str], commit: str) -> None:
        self._commits[key] = commit
        if len(self._commits) > KNOWN_COMMITS:
            self._commits.popitem(last=False)


def _key(context: str) -> str:
    """A context as a key; a long one is shortened so that no other becomes the same."""
    return context if len(context) <= KEY_MOST else f"{context[:27]}-{hashlib.sha256(context.encode()).hexdigest()[:12]}"


def _repository(project: str) -> str:
    workspace, _, name = project.partition("/")
    return path_of("repositories", workspace, name)


def _request(project: str, number: int) -> str:
    return _repository(project) + path_of("pullrequests", number)


def _next(answer: Answer, page: _Page) -> str:
    del answer
    return page.next


def make(rules: Rules, token: Token) -> Forge:
    """Bitbucket Cloud. Raises `OctofleetError`."""
    credentials = basic(rules.user, token) if rules.user else bearer(token)
    http = Http(api_url(rules, "/2.0", "https://api.bitbucket.org"), credentials, ca_file=rules.ca_file)
    return Forge(name=rules.name, kind="bitbucket", reader=BitbucketReader(), client=BitbucketClient(http), html=False)
