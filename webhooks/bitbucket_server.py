"""Bitbucket Data Center (and Server): its webhooks and its REST API. A project is `PROJECT/REPOSITORY` as its URLs have them (`OPS/fleet`, `~ada/fleet`).

An identity is `bitbucket:NAME`, the name that a user signs in with.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated
from urllib.parse import unquote

from msgspec import Meta, Struct, field

from reconciler.settings import Forge as Rules
from webhooks.forge import (
    Commented,
    Delivery,
    Denied,
    Event,
    Forge,
    Gone,
    Pull,
    PullChanged,
    PullState,
    Pushed,
    Status,
    Unreadable,
    Verdict,
)  # fmt: skip
from webhooks.forges import Token
from webhooks.http import Answer, Conflict, Http, decoded, path_of
from webhooks.reading import Commit, Id, Name, Number, SignedReader, branch_of, known
from webhooks.rest import RestClient, Said, api_url, basic, bearer

API = "/rest/api/latest"
Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_000)]
"""A time in milliseconds since the epoch."""


class _Kind(Struct, rename="camel"):
    event_key: str = ""


class _Key(Struct):
    key: Name


class _Repository(Struct):
    id: Id
    slug: Name
    project: _Key

    @property
    def name(self) -> str:
        """As URLs have it."""
        return f"{self.project.key}/{self.slug}"


class _User(Struct):
    name: Name


class _Comment(Struct, rename="camel"):
    id: Id
    text: str
    created_date: Millis
    version: int = 0
    author: _User | None = None
    comments: list["_Comment"] = []


class _Target(Struct):
    repository: _Repository


class _Numbered(Struct, rename="camel"):
    id: Number
    to_ref: _Target


class _PullHook(Struct, rename="camel"):
    pull_request: _Numbered


class _CommentHook(_PullHook, rename="camel"):
    comment: _Comment


class _Change(Struct, rename="camel"):
    ref_id: Name
    from_hash: Commit
    to_hash: Commit


class _PushHook(Struct):
    repository: _Repository
    changes: list[_Change]


class BitbucketServerReader(SignedReader):
    """Deliveries of Bitbucket Data Center. What happened stands in the body too, which is signed."""

    signatures, ids, kinds = ("x-hub-signature",), ("x-request-id",), ("x-event-key",)

    def events(self, delivery: Delivery) -> Sequence[Event]:
        """See `Reader`."""
        kind = decoded(delivery.body, _Kind, "the delivery").event_key
        what = f"the delivery ({kind[:60]})"
        if kind == "pr:comment:added":
            return _commented(decoded(delivery.body, _CommentHook, what))
        if kind.startswith("pr:") and not kind.startswith("pr:comment:"):
            pull = decoded(delivery.body, _PullHook, what).pull_request
            return [PullChanged(project=pull.to_ref.repository.name, number=pull.id)]
        if kind == "repo:refs_changed":
            return _pushed(decoded(delivery.body, _PushHook, what))
        return []


def _commented(hook: _CommentHook) -> Sequence[Event]:
    said, pull = _one(hook.comment), hook.pull_request
    if not said.author or not said.original:
        return []
    project = pull.to_ref.repository.name
    return [Commented(project=project, number=pull.id, comment=said.id, author=said.author, body=said.body, at=said.at)]


def _pushed(hook: _PushHook) -> Sequence[Event]:
    return [
        Pushed(project=hook.repository.name, branch=branch, before=known(change.from_hash), after=known(change.to_hash))
        for change in hook.changes
        if (branch := branch_of(change.ref_id))
    ]


def _one(comment: _Comment) -> Said:
    """Each edit raises the version."""
    author = comment.author.name if comment.author else ""
    return Said(id=str(comment.id), author=author, body=comment.text, at=comment.created_date / 1000, original=comment.version == 0)


class _Ref(Struct, rename="camel"):
    id: Name
    latest_commit: Commit
    repository: _Repository


class _Participant(Struct):
    user: _User


class _Merge(Struct):
    id: Commit


class _Properties(Struct, rename="camel"):
    merge_commit: _Merge | None = None


class _Link(Struct):
    href: str


class _Links(Struct):
    here: list[_Link] = field(default_factory=list, name="self")


class _Pull(Struct, rename="camel"):
    id: Number
    title: str
    state: str
    from_ref: _Ref
    to_ref: _Ref
    author: _Participant | None = None
    properties: _Properties = field(default_factory=_Properties)
    links: _Links = field(default_factory=_Links)
    draft: bool = False


class _Page(Struct, rename="camel"):
    is_last_page: bool = True
    next_page_start: int | None = None


class _Pulls(_Page, rename="camel"):
    values: list[_Pull] = []


class _Activity(Struct):
    action: str
    comment: _Comment | None = None


class _Activities(_Page, rename="camel"):
    values: list[_Activity] = []


STATES = {"OPEN": PullState.OPEN, "MERGED": PullState.MERGED, "DECLINED": PullState.CLOSED}
WORDS = {Verdict.PENDING: "INPROGRESS", Verdict.SUCCESS: "SUCCESSFUL", Verdict.FAILURE: "FAILED", Verdict.ERROR: "FAILED"}


class BitbucketServerClient(RestClient):
    """Calls with an HTTP access token that may write to the repository; with `user` in the settings it goes as that user's password."""

    async def pull(self, project: str, number: int) -> Pull:
        """See `Client`."""
        return _pull(project, await self._http.get(_request(project, number), _Pull))

    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """See `Client`."""
        onto = {"at": f"refs/heads/{branch}"} if branch else {}
        path = API + _repository(project) + "/pull-requests"
        pages = self._http.pages(path, _Pulls, _next, state="OPEN", direction="INCOMING", order="OLDEST", limit=100, **onto)
        found = {one.id: one async for page in pages for one in page.values if branch in ("", branch_of(one.to_ref.id))}
        return [_pull(project, one) for one in found.values()]

    async def open_pull(self, project: str, branch: str, onto: str, title: str, body: str) -> Pull:
        """See `Client`."""
        key, _, slug = project.partition("/")
        where = {"repository": {"slug": slug, "project": {"key": key}}}
        ends = {"fromRef": {"id": f"refs/heads/{branch}"} | where, "toRef": {"id": f"refs/heads/{onto}"} | where}
        path = API + _repository(project) + "/pull-requests"
        answer = await self._http.call("POST", path, json={"title": title, "description": body} | ends)
        return _pull(project, answer.read(_Pull))

    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """See `Client`. A status must have a URL; that of the commit, if it has none of its own."""
        url = status.url or self._http.origin.base + _repository(project) + path_of("commits", commit)
        body = {"key": status.context, "name": status.context, "state": WORDS[status.verdict], "description": status.text, "url": url}
        await self._http.call("POST", API + _repository(project) + path_of("commits", commit, "builds"), json=body)

    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """See `Client`. Older versions have no reactions."""
        there = path_of("pull-requests", number, "comments", comment, "reactions", "eyes")
        with suppress(Gone):
            await self._http.call("PUT", "/rest/comment-likes/latest" + _repository(project) + there)

    async def _said(self, project: str, number: int, since: float) -> AsyncIterator[Said]:
        """Comments are listed among the activities only, answers within what they answer."""
        async for page in self._http.pages(_request(project, number) + "/activities", _Activities, _next, limit=100):
            for activity in page.values:
                if activity.action == "COMMENTED" and activity.comment is not None:
                    for one in _with_answers(activity.comment):
                        yield _one(one)

    async def _edit(self, project: str, number: int, comment: str, body: str) -> None:
        """An edit names the version that it is of; of one that was edited meanwhile it is tried once more."""
        path = _request(project, number) + path_of("comments", comment)
        for again in (True, False):
            found = await self._http.get(path, _Comment)
            try:
                await self._http.call("PUT", path, json={"text": body, "version": found.version})
                return
            except Conflict:
                if not again:
                    raise

    async def _add(self, project: str, number: int, body: str) -> str:
        answer = await self._http.call("POST", _request(project, number) + "/comments", json={"text": body})
        return str(answer.read(_Comment).id)

    async def _whoami(self) -> str:
        """No call tells; every answer to a valid token does, in a header."""
        answer = await self._http.call("GET", API + "/application-properties")
        if not (name := unquote(answer.headers.get("x-ausername", ""))):
            raise Denied(f"{answer.what}: Bitbucket does not know the token")
        return name


def _with_answers(comment: _Comment) -> Iterator[_Comment]:
    left = [comment]
    while left:
        yield (one := left.pop())
        left += one.comments


def _repository(project: str) -> str:
    key, _, slug = project.partition("/")
    return path_of("projects", key, "repos", slug)


def _request(project: str, number: int) -> str:
    return API + _repository(project) + path_of("pull-requests", number)


def _next(answer: Answer, page: _Page) -> Mapping[str, int]:
    del answer
    return {} if page.is_last_page or page.next_page_start is None else {"start": page.next_page_start}


def _pull(project: str, found: _Pull) -> Pull:
    if found.state not in STATES:
        raise Unreadable(f"a pull request has the state {found.state[:40]!r}, which is not documented")
    state, merge = STATES[found.state], found.properties.merge_commit
    return Pull(
        project=project,
        number=found.id,
        title=found.title,
        author=found.author.user.name if found.author else "",
        state=state,
        head=found.from_ref.latest_commit,
        head_branch=branch_of(found.from_ref.id) or found.from_ref.id,
        base_branch=branch_of(found.to_ref.id) or found.to_ref.id,
        fork=found.from_ref.repository.id != found.to_ref.repository.id,
        url=found.links.here[0].href if found.links.here else "",
        fetch=f"refs/pull-requests/{found.id}/from",
        merged_as=merge.id if merge and state is PullState.MERGED else "",
        draft=found.draft,
    )


def make(rules: Rules, token: Token) -> Forge:
    """A Bitbucket Data Center of the settings, which have its URL. Raises `OctofleetError`."""
    credentials = basic(rules.user, token) if rules.user else bearer(token)
    http = Http(api_url(rules, ""), credentials, ca_file=rules.ca_file)
    return Forge(name=rules.name, kind="bitbucket", reader=BitbucketServerReader(), client=BitbucketServerClient(http), html=False)
