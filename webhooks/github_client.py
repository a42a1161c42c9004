"""What GitHub is asked and told, on gidgethub: with a token, or as a GitHub App that has itself given a token for each repository.

GETs are conditional: what has not changed costs nothing of GitHub's limit. What is asked for beyond the limits is not sent.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import jwt
import msgspec
from gidgethub import GitHubException
from gidgethub.abc import GitHubAPI
from gidgethub.apps import get_jwt
from gidgethub.sansio import DOMAIN, RateLimit

from reconciler.errors import OctofleetError
from reconciler.settings import Forge as Rules
from webhooks.forge import Client, Commented, Denied, Gone, Later, Pull, PullState, Status, Unreadable
from webhooks.forges import SecretFile, Token
from webhooks.github import Comment, Login, Repository
from webhooks.session import body_of, open_session

NAME = "octofleet"
CACHED = 2_000
"""How many answers are kept to ask again only whether they have changed."""
RENEW_S = 300.0
"""A token of an App is renewed so long before it ends; it holds for an hour."""
SECONDARY_S = 60.0
"""How long to wait, as GitHub documents it, where it refuses for its secondary limit and does not say."""
AWAY_S = 10.0
"""The same where it cannot answer at all."""
SINCE_S = 3_600
"""`since` of comments is rounded down to so much, so that the URL stays the same and the answer can be conditional."""
HEARD = "eyes"
T = TypeVar("T")


class _Head(msgspec.Struct, frozen=True):
    sha: str
    ref: str
    repo: "_Cloned | None"


class _Cloned(Repository, frozen=True):
    clone_url: str


class _Pull(msgspec.Struct, frozen=True):
    number: int
    title: str
    user: Login | None
    state: str
    head: _Head
    base: _Head
    html_url: str
    merged_at: str | None = None
    merge_commit_sha: str | None = None
    draft: bool = False

    def pull(self, project: str) -> Pull:
        """As any forge has it."""
        merged = self.merged_at is not None
        state = PullState.MERGED if merged else PullState.OPEN if self.state == "open" else PullState.CLOSED
        own = self.head.repo is not None and self.base.repo is not None and self.head.repo.full_name == self.base.repo.full_name
        return Pull(
            project=project,
            number=self.number,
            title=self.title,
            author=self.user.login if self.user else "",
            state=state,
            head=self.head.sha,
            head_branch=self.head.ref,
            base_branch=self.base.ref,
            fork=not own,
            url=self.html_url,
            fetch=f"refs/pull/{self.number}/head",
            head_url=self.head.repo.clone_url if self.head.repo else "",
            merged_as=(self.merge_commit_sha or "") if merged else "",
            draft=self.draft,
        )


class _Installation(msgspec.Struct, frozen=True):
    id: int


class _App(msgspec.Struct, frozen=True):
    slug: str


class _Given(msgspec.Struct, frozen=True):
    token: str
    expires_at: datetime


class _Made(msgspec.Struct, frozen=True):
    id: int


class _Newest(OrderedDict[str, Any]):
    """The newest answers."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > CACHED:
            self.popitem(last=False)


class _Api(GitHubAPI):
    """gidgethub on our sessions: whatever goes wrong is one of `forge.py`'s exceptions."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        super().__init__(NAME, cache=_Newest(), base_url=url)
        self.session = session

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, Mapping[str, str], bytes]:
        try:
            async with self.session.request(method, url, headers=headers, data=body) as response:
                answer = await body_of(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Later(f"GitHub cannot be reached: {type(error).__name__}", after_s=AWAY_S) from None
        self.rate_limit = RateLimit.from_http(response.headers) or self.rate_limit
        _check(method, url, response.status, response.headers, answer)
        return response.status, response.headers, answer

    async def manage_rate_limit(self, *, method: str, url: str) -> None:
        """A call beyond the limit is not sent."""
        if self.rate_limit is not None and not self.rate_limit:
            raise Later("the limit of GitHub is used up", after_s=_until(self.rate_limit.reset_datetime.timestamp()))

    async def sleep(self, seconds: float) -> None:
        """Nobody sleeps here: the queue waits."""
        raise NotImplementedError


def _check(method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise what an answer means, unless it is one to go on with."""
    if status < 400:
        return
    what = f"GitHub answers {method} {url.partition('?')[0]} with {status}"
    limited = b"rate limit" in body.lower() or headers.get("x-ratelimit-remaining") == "0"
    if status == 429 or (status == 403 and ("retry-after" in headers or limited)):
        raise Later(f"{what}: too many calls", after_s=_wait(headers))
    if status in (401, 403):
        raise Denied(what)
    if status in (404, 410):
        raise Gone(what)
    if status >= 500 or status == 408:
        raise Later(what, after_s=_wait(headers) if "retry-after" in headers else AWAY_S)
    raise Unreadable(what)


def _wait(headers: Mapping[str, str]) -> float:
    """How long to wait, as the headers of a refusal say."""
    try:
        if "retry-after" in headers:
            return max(float(headers["retry-after"]), 1.0)
        if headers.get("x-ratelimit-remaining") == "0":
            return _until(float(headers["x-ratelimit-reset"]))
    except (ValueError, KeyError):
        pass
    return SECONDARY_S


def _until(at: float) -> float:
    return max(at - time.time(), 1.0)


class GithubClient(Client):
    """Belongs to one event loop; connects at the first call. Projects are `OWNER/REPOSITORY`."""

    def __init__(self, rules: Rules, token: Token) -> None:
        self._rules, self._token = rules, token
        self._key = SecretFile(Path(rules.app_key_file)) if rules.app_key_file else None
        self._made: _Api | None = None
        self._given: dict[str, _Given] = {}
        self._account = ""

    async def pull(self, project: str, number: int) -> Pull:
        """`GET /repos/{owner}/{repo}/pulls/{number}`."""
        return _as(await self._get(project, f"/pulls/{number}"), _Pull).pull(project)

    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """`GET /repos/{owner}/{repo}/pulls`, all pages; onto every branch without one."""
        found = await self._all(project, "/pulls{?state,base,per_page}", state="open", base=branch or None, per_page="100")
        return [one.pull(project) for one in _as(found, list[_Pull])]

    async def comments(self, project: str, number: int, since: float) -> Sequence[Commented]:
        """`GET /repos/{owner}/{repo}/issues/{number}/comments`, by the time they were made; whose author is gone says nothing any more, and
        what was edited is nobody's word."""
        after = datetime.fromtimestamp(since // SINCE_S * SINCE_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = await self._all(project, f"/issues/{number}/comments{{?since,per_page}}", since=after, per_page="100")
        said = [one.said(project, number) for one in _as(found, list[Comment]) if one.user is not None and one.original]
        return sorted((one for one in said if one.at >= since), key=lambda one: (one.at, int(one.comment)))

    async def put_comment(self, project: str, number: int, body: str, tag: str, known: str) -> str:
        """Edits the one that is known or found, or makes it."""
        if known:
            try:
                return await self._edit(project, known, body)
            except Gone:
                pass
        found = _as(await self._all(project, f"/issues/{number}/comments{{?per_page}}", per_page="100"), list[Comment])
        own = (await self.account()).casefold()
        ours = [one.id for one in found if one.user is not None and one.user.login.casefold() == own and tag in (one.body or "")]
        if ours:
            return await self._edit(project, str(min(ours)), body)
        return str(_as(await self._send("POST", project, f"/issues/{number}/comments", {"body": body}), _Made).id)

    async def _edit(self, project: str, comment: str, body: str) -> str:
        await self._send("PATCH", project, f"/issues/comments/{comment}", {"body": body})
        return comment

    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """`POST /repos/{owner}/{repo}/statuses/{sha}`: our four verdicts are GitHub's states."""
        said = {"state": status.verdict.value, "context": status.context, "description": status.text[:140]}
        await self._send("POST", project, f"/statuses/{commit}", said | ({"target_url": status.url} if status.url else {}))

    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """A reaction; the same one twice is one."""
        await self._send("POST", project, f"/issues/comments/{comment}/reactions", {"content": HEARD})

    async def account(self) -> str:
        """The token's user, or the App's own, `SLUG[bot]`."""
        if not self._account:
            api = await self._api()
            if self._key is not None:
                self._account = _as(await self._call(api.getitem("/app", jwt=self._jwt())), _App).slug + "[bot]"
            else:
                self._account = _as(await self._call(api.getitem("/user", oauth_token=self._read_token())), Login).login
        return self._account

    def calls_left(self) -> int | None:
        """As the newest answer said; GitHub Enterprise Server may have no limit."""
        limit = self._made.rate_limit if self._made else None
        return limit.remaining if limit is not None else None

    async def close(self) -> None:
        """Let go of connections; the next call makes new ones."""
        if self._made is not None:
            await self._made.session.close()
            self._made = None

    async def _api(self) -> _Api:
        if self._made is None:
            self._made = _Api(open_session(self._rules.ca_file, self._rules.url or DOMAIN), self._rules.url or DOMAIN)
        return self._made

    async def _get(self, project: str, path: str, **variables: str | None) -> Any:
        api = await self._api()
        return await self._call(api.getitem(*self._at(project, path, variables), oauth_token=await self._of(project)))

    async def _all(self, project: str, path: str, **variables: str | None) -> list[Any]:
        api, token = await self._api(), await self._of(project)

        async def pages() -> list[Any]:
            return [item async for item in api.getiter(*self._at(project, path, variables), oauth_token=token)]

        return _as(await self._call(pages()), list[Any])

    async def _send(self, method: str, project: str, path: str, data: Mapping[str, str]) -> Any:
        api = await self._api()
        send = api.post if method == "POST" else api.patch
        return await self._call(send(*self._at(project, path, {}), data=data, oauth_token=await self._of(project)))

    def _at(self, project: str, path: str, variables: Mapping[str, str | None]) -> tuple[str, dict[str, Any]]:
        owner, _, name = project.partition("/")
        return "/repos/{owner}/{name}" + path, {"owner": owner, "name": name} | {key: value for key, value in variables.items() if value}

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except Denied:
            self._given.clear()  # a token that was taken back is not used again
            raise
        except (GitHubException, ValueError, TypeError) as error:
            raise Unreadable(f"GitHub's answer is not as documented: {type(error).__name__}") from None

    async def _of(self, project: str) -> str:
        """The token for a repository: the one of the settings, or the App's, renewed before it ends."""
        if self._key is None:
            return self._read_token()
        given = self._given.get(project)
        if given is None or given.expires_at.timestamp() - time.time() < RENEW_S:
            api = await self._api()
            url, variables = self._at(project, "/installation", {})
            installed = _as(await self._call(api.getitem(url, variables, jwt=self._jwt())), _Installation)
            made = await self._call(api.post(f"/app/installations/{installed.id}/access_tokens", data=b"", jwt=self._jwt()))
            given = self._given[project] = _as(made, _Given)
        return given.token

    def _read_token(self) -> str:
        try:
            return self._token()
        except OctofleetError as error:
            raise Denied(error.message) from None

    def _jwt(self) -> str:
        assert self._key is not None  # noqa: S101 - asked before
        try:
            return get_jwt(app_id=self._rules.app_id, private_key=self._key.text())
        except OctofleetError as error:
            raise Denied(error.message) from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Denied(f"{self._rules.app_key_file} holds no private key in PEM") from None


def _as(value: Any, of: type[T]) -> T:
    """What GitHub answered, as that type. Raises `Unreadable`."""
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        raise Unreadable(f"GitHub's answer is not as documented: {error}") from None
