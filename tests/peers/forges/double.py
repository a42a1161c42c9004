"""What every double of a forge has in common: repositories on disk, pull requests, comments, statuses, faults, and webhooks that it sends.

A subclass gives the routes of its forge's API and the payloads of its webhooks. Everything may be called from the test's thread.
"""

import asyncio
import json
import time
import urllib.request
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any

import pygit2
from aiohttp import web

from reconciler.server.app import listening

BOT = "octofleet-bot"
"""The account that a double's token belongs to."""
TOKEN, SECRET = "token-of-the-bot", "secret-of-the-hook"


@dataclass
class CommentState:
    """A comment; `reactions` are the names that its forge gives them."""

    id: str
    author: str
    body: str
    at: float
    reactions: list[str] = field(default_factory=list)
    edits: int = 0
    edited_at: float = 0.0


@dataclass
class StatusState:
    """A commit status as it was set."""

    commit: str
    context: str
    state: str
    text: str
    url: str


@dataclass
class PullState:
    """A pull request. `source` is the repository that holds its head: the project's own, or a fork's."""

    number: int
    title: str
    author: str
    branch: str
    base: str
    source: Path
    state: str = "open"
    merged_as: str = ""
    draft: bool = False
    body: str = ""
    updated_at: float = 0.0
    comments: list[CommentState] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The commit that its branch points to."""
        return str(pygit2.Repository(str(self.source)).branches.local[self.branch].target)


@dataclass
class Project:
    """A repository at the forge: its bare directory on disk, its pull requests, and the statuses of its commits in the order they were set."""

    name: str
    git: Path
    pulls: dict[int, PullState] = field(default_factory=dict)
    statuses: list[StatusState] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """What the next call gets instead of its answer: a status with JSON, or with a text of the kind that `headers` say; or its connection is closed.
    0: its own answer, late."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    text: str = ""
    close: bool = False


@dataclass(frozen=True)
class Sent:
    """A delivery that was sent: its headers and body, and the status that came back (0: no answer)."""

    headers: Mapping[str, str]
    body: bytes
    status: int


class Double(ABC):
    """A forge. `calls` are method and path of every request that came; `faults` are used up one by one; `hook` is where it delivers to, if anywhere."""

    ref = "refs/pull/{}/head"
    """Where the project's own repository has the head of a pull request; empty: nowhere."""

    def __init__(self) -> None:
        self.projects: dict[str, Project] = {}
        self.calls: list[tuple[str, str]] = []
        self.faults: deque[Fault] = deque()
        self.sent: list[Sent] = []
        self.lost: set[int] = set()
        """Pull requests whose fork was deleted."""
        self.writes_left: int | None = None
        """How many more comments, statuses and reactions its rate limit allows."""
        self.unchanged = 0
        """How many calls were answered with 304."""
        self.hook, self.url, self.lock = "", "", RLock()
        self._ids = count(1001)

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """The API."""

    @abstractmethod
    def payload(self, kind: str, project: Project, pull: PullState | None, **more: str) -> tuple[Mapping[str, str], bytes]:
        """Headers (signed with `SECRET` or carrying it) and body of a webhook. `kind`: opened, pushed (to the pull request), closed, merged, commented
        (`author`, `body`, `comment`), or branch (`branch`, `before`, `after`)."""

    @contextmanager
    def running(self) -> Iterator["Double"]:
        """Serve it on loopback while the block lasts; `url` is its root."""
        app = web.Application(middlewares=[self._counting], client_max_size=4 << 20)
        app.add_routes(self.routes())
        with listening(app, "127.0.0.1", 0) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    @web.middleware
    async def _counting(self, request: web.Request, handler: web.RequestHandler) -> web.StreamResponse:  # type: ignore[type-arg]
        self.calls.append((request.method, request.path))
        if self.faults:
            fault = self.faults.popleft()
            await asyncio.sleep(fault.hang_s)
            if fault.close and request.transport is not None:
                request.transport.close()
            if fault.text:
                return web.Response(status=fault.status, body=fault.text.encode(), headers=dict(fault.headers))
            if fault.status:
                return web.json_response({"message": "fault"}, status=fault.status, headers=dict(fault.headers))
        answer = await handler(request)  # type: ignore[operator]
        self.unchanged += answer.status == 304
        return answer  # type: ignore[no-any-return]

    def project(self, name: str, git: Path) -> Project:
        """Have a repository, which is there as a bare directory."""
        made = self.projects[name] = Project(name=name, git=git)
        return made

    def new_id(self) -> str:
        """A number that nothing else has."""
        return str(next(self._ids))

    def open(
        self, project: Project, branch: str, *, title: str = "A change", author: str = "ada", base: str = "main", fork: Path | None = None
    ) -> PullState:
        """Open a pull request from a branch, and deliver that."""
        with self.lock:
            made = self._new(project, branch, title=title, author=author, base=base, source=fork or project.git)
        self.deliver("opened", project, made)
        return made

    def opened(self, project: Project, branch: str, base: str, title: str, body: str) -> PullState | None:
        """Our own, by the API; None if a branch is not there, or one from there is open already."""
        with self.lock:
            branches = pygit2.Repository(str(project.git)).branches.local
            there = any(pull.state == "open" and (pull.branch, pull.base) == (branch, base) for pull in project.pulls.values())
            if there or branch not in branches or base not in branches:
                return None
            return self._new(project, branch, title=title, author=BOT, base=base, source=project.git, body=body)

    def _new(self, project: Project, branch: str, **more: Any) -> PullState:
        made = PullState(number=max(project.pulls, default=0) + 1, branch=branch, updated_at=time.time(), **more)
        project.pulls[made.number] = made
        self._point(project, made)
        return made

    def pushed(self, project: Project, pull: PullState) -> None:
        """The branch of a pull request has moved in its repository: say so."""
        with self.lock:
            pull.updated_at = time.time()
            self._point(project, pull)
        self.deliver("pushed", project, pull)

    def say(self, project: Project, pull: PullState, author: str, body: str) -> CommentState:
        """Somebody comments."""
        with self.lock:
            made = CommentState(id=self.new_id(), author=author, body=body, at=time.time())
            pull.comments.append(made)
            pull.updated_at = made.at
        self.deliver("commented", project, pull, author=author, body=body, comment=made.id)
        return made

    def edit(self, comment: CommentState, body: str) -> None:
        """Somebody gives a comment another text, its author or who else may."""
        with self.lock:
            comment.body, comment.edits, comment.edited_at = body, comment.edits + 1, max(time.time(), comment.at + 2)

    def merge(self, project: Project, pull: PullState, *, squash: bool = False) -> str:
        """Merge it as the forge's button does; gives the commit on the base branch."""
        git = pygit2.Repository(str(project.git))
        before = str(git.branches.local[pull.base].target)
        self._point(project, pull)
        head = pygit2.Oid(hex=pull.head)
        index = git.merge_commits(pygit2.Oid(hex=before), head)
        assert index.conflicts is None, "this pull request has conflicts"
        who = pygit2.Signature("forge", "forge@example.net")
        parents = [pygit2.Oid(hex=before)] + ([] if squash else [head])
        made = str(git.create_commit(f"refs/heads/{pull.base}", who, who, f"{pull.title} (#{pull.number})", index.write_tree(git), parents))
        with self.lock:
            pull.state, pull.merged_as, pull.updated_at = "merged", made, time.time()
        self.deliver("merged", project, pull)
        self.deliver("branch", project, None, branch=pull.base, before=before, after=made)
        return made

    def close(self, project: Project, pull: PullState) -> None:
        """Close it unmerged."""
        with self.lock:
            pull.state, pull.updated_at = "closed", time.time()
        self.deliver("closed", project, pull)

    def deliver(self, kind: str, project: Project, pull: PullState | None, **more: str) -> None:
        """Send a webhook, if there is somewhere to send it to."""
        if self.hook:
            self.send(*self.payload(kind, project, pull, **more))

    def send(self, headers: Mapping[str, str], body: bytes) -> int:
        """Send a delivery as it is (again); gives the status, 0 if nobody answered."""
        request = urllib.request.Request(self.hook, data=body, headers=dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status = int(answer.status)
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        self.sent.append(Sent(headers=headers, body=body, status=status))
        return status

    def ours(self, pull: PullState) -> list[CommentState]:
        """The comments that were written with the bot's token."""
        return [comment for comment in pull.comments if comment.author == BOT]

    def _point(self, project: Project, pull: PullState) -> None:
        """Have the project's repository know the head under the forge's ref, as far as it has such."""
        git = pygit2.Repository(str(project.git))
        if pull.source != project.git:
            git.remotes.create_anonymous(str(pull.source)).fetch([f"+refs/heads/{pull.branch}:refs/forks/{pull.number}"])
        if self.ref:
            git.references.create(self.ref.format(pull.number), pull.head, force=True)


def json_body(value: object) -> bytes:
    """As forges send JSON: compact, in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
