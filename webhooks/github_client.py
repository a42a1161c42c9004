"""What GitHub is asked and told, on gidgethub: with a token, or as a GitHub App that has itself given a token for each repository.

GETs are conditional: what has not changed costs nothing of GitHub's limit. What is asked for beyond the limits is not sent.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import jwt
import msgspec
from gidgethub import GitHubException
from gidgethub.abc import GitHubAPI
from gidgethub.apps import get_jwt
from gidgethub.sansio import DOMAIN, RateLimit

from reconciler.errors import OctofleetError
from reconciler.settings import Forge as Rules
from webhooks import session
from webhooks.forge import Denied, Gone, Later, Pull, PullState, Status, Unreadable
from webhooks.forges import SecretFile, Token
from webhooks.github import Comment, Login, Repository, Time
from webhooks.http import path_of
from webhooks.reading import Commit, Id, MaybeCommit, Name, Number
from webhooks.rest import CommentClient, Said
from webhooks.session import Origin, wait_s

NAME = "octofleet"
CACHED = 2_000
"""How many answers are kept to ask again only whether they have changed."""
RENEW_S = 300.0
"""A token of an App is renewed so long before it ends; it holds for an hour."""
SECONDARY_S = 60.0
"""How long to wait, as GitHub documents it, where it refuses for its secondary limit and does not say."""
SINCE_S = 3_600
"""`since` of comments is rounded down to so much, so that the URL stays the same and the answer can be conditional."""
ITEMS = 20_000
"""So many items of a list, on all pages, and no more."""
HEARD = "eyes"
T = TypeVar("T")


class _Head(msgspec.Struct, frozen=True):
    sha: Commit
    ref: Name
    repo: "_Cloned | None"


class _Cloned(Repository, frozen=True):
    clone_url: str


class _Pull(msgspec.Struct, frozen=True):
    number: Number
    title: str
    user: Login | None
    state: Literal["open", "closed"]
    head: _Head
    base: _Head
    html_url: str
    merged_at: str | None = None
    merge_commit_sha: MaybeCommit | None = None
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
    id: Id


class _App(msgspec.Struct, frozen=True):
    slug: Name


class _Given(msgspec.Struct, frozen=True):
    token: Name
    expires_at: Time


class _Made(msgspec.Struct, frozen=True):
    id: Id


class _Newest(OrderedDict[str, Any]):
    """The newest answers."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > CACHED:
            self.popitem(last=False)


class _Api(GitHubAPI):
    """gidgethub on our connections: whatever goes wrong is one of `forge.py`'s exceptions."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(NAME, cache=_Newest(), base_url=origin.base)
        self.origin = origin

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, Mapping[str, str], bytes]:
        plain = dict(headers)
        credentials = {name: plain.pop(name) for name in headers if name == "authorization"}
        what = f"{method} {url.partition('?')[0]}"
        response, answer = await self.origin.exchange(method, url, what, plain, credentials, body)
        self.rate_limit = RateLimit.from_http(response.headers) or self.rate_limit
        _check(what, response.status, response.headers, answer)
        return response.status, response.headers, answer

    async def manage_rate_limit(self, *, method: str, url: str) -> None:
        """A call beyond the limit is not sent."""
        if self.rate_limit is not None and not self.rate_limit:
            raise Later("the limit of GitHub is used up", after_s=_until(self.rate_limit.reset_datetime.timestamp()))

    async def sleep(self, seconds: float) -> None:
        """Nobody sleeps here: the queue waits."""
        raise Later("GitHub wants fewer calls", after_s=seconds)


def _check(what: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise what an answer means, unless it is one to go on with."""
    if status < 400:
        return
    text = f"GitHub answers {what} with {status}"
    used_up = headers.get("X-RateLimit-Remaining") == "0"
    if status == 429 or (status == 403 and ("Retry-After" in headers or used_up or b"rate limit" in body.lower())):
        raise Later(f"{text}: too many calls", after_s=_wait(headers, used_up, SECONDARY_S))
    if status in (401, 403):
        raise Denied(text)
    if status in (404, 410):
        raise Gone(text)
    if status >= 500 or status == 408:
        raise Later(text, after_s=_wait(headers, False, session.AWAY_S))
    raise Unreadable(text)


def _wait(headers: Mapping[str, str], used_up: bool, unsaid_s: float) -> float:
    """How long to wait, as a refusal says. When the limit begins anew, which every answer says, matters only where it is used up."""
    return wait_s(headers if used_up else {"Retry-After": headers.get("Retry-After", "")}, unsaid_s)


def _until(at: float) -> float:
    return min(max(at - time.time(), 1.0), session.LATER_MOST_S)


class GithubClient(CommentClient):
    """Belongs to one event loop until it is closed; connects at the first call. Projects are `OWNER/REPOSITORY`."""

    def __init__(self, rules: Rules, token: Token) -> None:
        super().__init__()
        self._rules, self._token = rules, token
        self._key = SecretFile(Path(rules.app_key_file)) if rules.app_key_file else None
        self._api = _Api(Origin(rules.url or DOMAIN, ca_file=rules.ca_file))
        self._given: dict[str, _Given] = {}

    async def pull(self, project: str, number: int) -> Pull:
        """`GET /repos/{owner}/{repo}/pulls/{number}`."""
        call = self._api.getitem(_repository(project) + path_of("pulls", number), oauth_token=await self._of(project))
        return _as(await self._call(call), _Pull).pull(project)

    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """`GET /repos/{owner}/{repo}/pulls`, all pages; onto every branch without one."""
        found = await self._all(project, path_of("pulls"), list[_Pull], state="open", base=branch)
        return [one.pull(project) for one in found]

    async def open_pull(self, project: str, branch: str, onto: str, title: str, body: str) -> Pull:
        """`POST /repos/{owner}/{repo}/pulls`."""
        said = {"head": branch, "base": onto, "title": title, "body": body}
        return _as(await self._send("POST", project, path_of("pulls"), said), _Pull).pull(project)

    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """`POST /repos/{owner}/{repo}/statuses/{sha}`: our four verdicts are GitHub's states."""
        said = {"state": status.verdict.value, "context": status.context, "description": status.text[:140]}
        await self._send("POST", project, path_of("statuses", commit), said | ({"target_url": status.url} if status.url else {}))

    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """A reaction; the same one twice is one."""
        await self._send("POST", project, path_of("issues", "comments", comment, "reactions"), {"content": HEARD})

    def calls_left(self) -> int | None:
        """As the newest answer said; GitHub Enterprise Server may have no limit."""
        limit = self._api.rate_limit
        return limit.remaining if limit is not None else None

    async def close(self) -> None:
        """Let go of connections; the next call makes new ones."""
        await self._api.origin.close()

    async def _said(self, project: str, number: int, since: float) -> AsyncIterator[Said]:
        """`GET /repos/{owner}/{repo}/issues/{number}/comments`. Its `since` means the last edit, which is never before the writing."""
        after = datetime.fromtimestamp(since // SINCE_S * SINCE_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if since > 0 else ""
        for one in await self._all(project, path_of("issues", number, "comments"), list[Comment], since=after):
            yield _comment(one)

    async def _edit(self, project: str, number: int, comment: str, body: str) -> None:
        await self._send("PATCH", project, path_of("issues", "comments", comment), {"body": body})

    async def _add(self, project: str, number: int, body: str) -> str:
        return str(_as(await self._send("POST", project, path_of("issues", number, "comments"), {"body": body}), _Made).id)

    async def _whoami(self) -> str:
        """The token's user, or the App's own, `SLUG[bot]`."""
        if self._key is not None:
            return _as(await self._call(self._api.getitem("/app", jwt=self._jwt())), _App).slug + "[bot]"
        return _as(await self._call(self._api.getitem("/user", oauth_token=self._token())), Login).login

    def _credentials(self) -> Mapping[str, str]:
        return {"app": self._rules.app_id} if self._key is not None else {"token": self._token()}

    async def _all(self, project: str, path: str, of: type[T], **variables: str) -> T:
        """A list, all pages of it; what is empty is not asked for."""
        query = {name: value for name, value in variables.items() if value} | {"per_page": "100"}
        url, token = _repository(project) + path + "{?" + ",".join(query) + "}", await self._of(project)

        async def items() -> list[Any]:
            found = list[Any]()
            async for item in self._api.getiter(url, query, oauth_token=token):
                found.append(item)
                if len(found) > ITEMS:
                    raise Unreadable(f"GET {path}: more than {ITEMS:,} items")
            return found

        return _as(await self._call(items()), of)

    async def _send(self, method: str, project: str, path: str, data: Mapping[str, str]) -> Any:
        send = self._api.post if method == "POST" else self._api.patch
        return await self._call(send(_repository(project) + path, data=data, oauth_token=await self._of(project)))

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except Denied:
            self._given.clear()  # a token that was taken back is not used again
            raise
        except (GitHubException, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise Unreadable(f"GitHub's answer is not as documented: {type(error).__name__}") from None

    async def _of(self, project: str) -> str:
        """The token for a repository: the one of the settings, or the App's, renewed before it ends."""
        if self._key is None:
            return self._token()
        given = self._given.get(project)
        if given is None or given.expires_at.timestamp() - time.time() < RENEW_S:
            installed = _as(await self._call(self._api.getitem(_repository(project) + "/installation", jwt=self._jwt())), _Installation)
            made = await self._call(self._api.post(f"/app/installations/{installed.id}/access_tokens", data=b"", jwt=self._jwt()))
            given = self._given[project] = _as(made, _Given)
        return given.token

    def _jwt(self) -> str:
        assert self._key is not None  # noqa: S101 - asked before
        try:
            return get_jwt(app_id=self._rules.app_id, private_key=self._key.text())
        except OctofleetError as error:
            raise Denied(error.message) from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Denied(f"{self._rules.app_key_file} holds no private key in PEM") from None


def _repository(project: str) -> str:
    owner, _, name = project.partition("/")
    return path_of("repos", owner, name)


def _comment(one: Comment) -> Said:
    """One whose author is gone is nobody's."""
    author = one.user.login if one.user else ""
    return Said(
        id=str(one.id), author=author, body=one.body or "", at=one.created_at.timestamp(), original=one.created_at == one.updated_at
    )


def _as(value: Any, of: type[T]) -> T:
    """What GitHub answered, as that type. Raises `Unreadable`."""
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        raise Unreadable(f"GitHub's answer is not as documented: {error}") from None
