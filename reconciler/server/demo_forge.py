"""A forge for the demo, on loopback: just as much of GitHub's API and webhooks as one pull request needs."""

import hashlib
import hmac
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2
from aiohttp import web

from reconciler.server.app import listening

PROJECT, BOT = "demo/fleet", "octofleet[bot]"
TOKEN, SECRET = "demo-token", "demo-secret"
BRANCH, BASE = "htop", "main"


@dataclass(kw_only=True)
class DemoForge:
    """One repository (`git`, bare) with one pull request that `author` opened. `comments` by id, `statuses` in their order, `calls` as they came."""

    git: Path
    author: str
    url: str = ""
    hook: str = ""
    merged_as: str = ""
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator["DemoForge"]:
        """Serve its API on loopback while the block lasts."""
        app = web.Application()
        repository = f"/repos/{PROJECT}"
        app.router.add_get("/user", self._user)
        app.router.add_get(f"{repository}/pulls/1", self._pull)
        app.router.add_get(f"{repository}/issues/1/comments", self._comments)
        app.router.add_post(f"{repository}/issues/1/comments", self._comment)
        app.router.add_patch(f"{repository}/issues/comments/{{id}}", self._comment)
        app.router.add_post(f"{repository}/issues/comments/{{id}}/reactions", self._react)
        app.router.add_post(f"{repository}/statuses/{{commit}}", self._status)
        with listening(app, "127.0.0.1", 0) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    @property
    def comment(self) -> str:
        """What Octofleet's comment says now."""
        return next((str(found["body"]) for found in self.comments.values() if found["user"]["login"] == BOT), "")

    def open(self) -> None:
        """The pull request is there: point its ref, and say so."""
        git = pygit2.Repository(str(self.git))
        git.references.create("refs/pull/1/head", git.branches.local[BRANCH].target, force=True)
        self._deliver("pull_request", {"action": "opened", "number": 1})

    def say(self, body: str) -> None:
        """Its author comments."""
        said = self._said(self.author, body)
        self._deliver("issue_comment", {"action": "created", "issue": {"number": 1, "pull_request": {}}, "comment": said})

    def merge(self) -> None:
        """Its author presses the button: the branch moves on, which the forge says in two deliveries."""
        git = pygit2.Repository(str(self.git))
        before, after = (git.branches.local[name].target for name in (BASE, BRANCH))
        git.branches.local[BASE].set_target(after)
        self.merged_as = str(after)
        self._deliver("pull_request", {"action": "closed", "number": 1})
        self._deliver("push", {"ref": f"refs/heads/{BASE}", "before": str(before), "after": str(after)})

    def _said(self, author: str, body: str) -> dict[str, Any]:
        number = len(self.comments) + 1
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.comments[number] = {"id": number, "user": {"login": author}, "body": body, "created_at": at}
        return self.comments[number]

    def _deliver(self, event: str, said: dict[str, Any]) -> None:
        body = json.dumps(said | {"repository": {"full_name": PROJECT}}).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": hashlib.sha256(body).hexdigest(),
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        request = urllib.request.Request(self.hook, data=body, headers=headers)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            self.calls.append(f"-> {event:<14} {answer.status}")

    async def _user(self, request: web.Request) -> web.Response:
        return self._answer(request, {"login": BOT})

    async def _pull(self, request: web.Request) -> web.Response:
        git = pygit2.Repository(str(self.git))
        repository = {"full_name": PROJECT, "clone_url": self.git.as_uri()}
        found = {
            "number": 1,
            "title": "More tools for Debian machines",
            "user": {"login": self.author},
            "state": "closed" if self.merged_as else "open",
            "draft": False,
            "html_url": f"{self.url}/{PROJECT}/pull/1",
            "head": {"sha": str(git.branches.local[BRANCH].target), "ref": BRANCH, "repo": repository},
            "base": {"sha": str(git.branches.local[BASE].target), "ref": BASE, "repo": repository},
            "merged_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if self.merged_as else None,
            "merge_commit_sha": self.merged_as or None,
        }
        return self._answer(request, found)

    async def _comments(self, request: web.Request) -> web.Response:
        return self._answer(request, list(self.comments.values()))

    async def _comment(self, request: web.Request) -> web.Response:
        body = str((await request.json())["body"])
        if request.method == "PATCH":
            found = self.comments[int(request.match_info["id"])]
            found["body"] = body
        else:
            found = self._said(BOT, body)
        return self._answer(request, found)

    async def _react(self, request: web.Request) -> web.Response:
        return self._answer(request, {"id": 1, "content": (await request.json())["content"]})

    async def _status(self, request: web.Request) -> web.Response:
        self.statuses.append(await request.json())
        return self._answer(request, {"id": len(self.statuses)})

    def _answer(self, request: web.Request, found: object) -> web.Response:
        if request.headers.get("Authorization", "").partition(" ")[2] != TOKEN:
            return web.json_response({"message": "Bad credentials"}, status=401)
        if request.method != "GET":
            self.calls.append(f"<- {request.method:<5} {request.path}")
        return web.json_response(found, status=201 if request.method == "POST" else 200)
