"""A double of GitHub, from its REST API's documentation: tokens and Apps, pages of 30, ETags, primary and secondary limits, payloads of webhooks."""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jwt
import pygit2
from aiohttp import web

from tests.peers.forges.answers import limited, linked
from tests.peers.forges.double import BOT, SECRET, TOKEN, CommentState, Double, Project, PullState, StatusState, json_body

APP_ID, APP_SLUG, INSTALLATION = "4711", "octofleet-app", 99
Answer = web.Response
ACTIONS = {"opened": "opened", "pushed": "synchronize", "closed": "closed", "merged": "closed"}


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class GithubDouble(Double):
    """`public_key`: of the App that may come, in PEM. `remaining`: calls until `reset_at`; an answer 304 costs none. `given`: tokens given to the App,
    with their ends. `writes_left` is its secondary limit, of content that is made. `locked`: pull requests where we may not speak."""

    def __init__(self) -> None:
        super().__init__()
        self.public_key = ""
        self.remaining, self.reset_at = 5000, time.time() + 3600
        self.given: dict[str, float] = {}
        self.token_s = 3600.0
        self.page_most = 100
        self.locked: set[int] = set()

    def routes(self) -> list[web.RouteDef]:
        repo = "/repos/{owner}/{name}"
        return [
            web.get("/user", self._as_user(self._user)),
            web.get("/app", self._as_app(self._app)),
            web.get(repo + "/installation", self._as_app(self._installation)),
            web.post("/app/installations/{id}/access_tokens", self._as_app(self._access_token)),
            web.get(repo + "/pulls", self._as_user(self._pulls)),
            web.post(repo + "/pulls", self._as_user(self._open)),
            web.get(repo + "/pulls/{number}", self._as_user(self._pull)),
            web.get(repo + "/issues/{number}/comments", self._as_user(self._comments)),
            web.post(repo + "/issues/{number}/comments", self._as_user(self._add_comment)),
            web.patch(repo + "/issues/comments/{id}", self._as_user(self._edit_comment)),
            web.post(repo + "/issues/comments/{id}/reactions", self._as_user(self._react)),
            web.post(repo + "/statuses/{sha}", self._as_user(self._status)),
        ]

    def _as_user(self, handler: Callable[..., Any]) -> Callable[[web.Request], Any]:
        async def checked(request: web.Request) -> Answer:
            token = request.headers.get("Authorization", "").partition(" ")[2]
            until = self.given.get(token, 0.0)
            if token != TOKEN and until < time.time():
                return _said(401, "Bad credentials")
            limits = {
                "X-RateLimit-Limit": "5000",
                "X-RateLimit-Remaining": str(self.remaining),
                "X-RateLimit-Reset": str(int(self.reset_at)),
            }
            if self.remaining <= 0 and time.time() < self.reset_at:
                return _said(403, "API rate limit exceeded", limits | {"X-RateLimit-Remaining": "0"})
            if limited(self, request):
                return _said(403, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.", limits)
            author = BOT if token == TOKEN else f"{APP_SLUG}[bot]"
            with self.lock:
                answer: Answer = await handler(request, author)
            etag = f'"{hashlib.sha256(answer.body or b"").hexdigest()}"'  # type: ignore[arg-type]
            if request.method == "GET" and answer.status == 200:
                answer.headers["ETag"] = etag
                if request.headers.get("If-None-Match") == etag:
                    return web.Response(status=304, headers={"ETag": etag} | limits)
            self.remaining -= 1
            answer.headers.update(limits | {"X-RateLimit-Remaining": str(self.remaining)})
            return answer

        return checked

    def _as_app(self, handler: Callable[..., Any]) -> Callable[[web.Request], Any]:
        async def checked(request: web.Request) -> Answer:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            try:
                assert kind.lower() == "bearer"
                claims = jwt.decode(token, self.public_key, algorithms=["RS256"], options={"require": ["iat", "exp", "iss"]})
                assert str(claims["iss"]) == APP_ID and claims["exp"] - time.time() <= 600
            except (AssertionError, jwt.PyJWTError):
                return _said(401, "A JSON web token could not be decoded")
            answer: Answer = await handler(request)
            return answer

        return checked

    async def _user(self, request: web.Request, author: str) -> Answer:
        return web.json_response({"login": author, "id": 1, "type": "User"})

    async def _app(self, request: web.Request) -> Answer:
        return web.json_response({"id": int(APP_ID), "slug": APP_SLUG, "name": "Octofleet"})

    async def _installation(self, request: web.Request) -> Answer:
        if self._project(request) is None:
            return _said(404, "Not Found")
        return web.json_response({"id": INSTALLATION, "app_slug": APP_SLUG})

    async def _access_token(self, request: web.Request) -> Answer:
        if request.match_info["id"] != str(INSTALLATION):
            return _said(404, "Not Found")
        token, until = f"ghs_{self.new_id()}", time.time() + self.token_s
        self.given[token] = until
        return web.json_response({"token": token, "expires_at": iso(until)}, status=201)

    async def _pulls(self, request: web.Request, author: str) -> Answer:
        project, base = self._project(request), request.query.get("base")
        if project is None:
            return _said(404, "Not Found")
        found = [pull for pull in project.pulls.values() if pull.state == "open" and base in (None, pull.base)]
        return self._paged(request, [self._pull_json(project, pull) for pull in sorted(found, key=lambda pull: -pull.number)])

    async def _open(self, request: web.Request, author: str) -> Answer:
        project, said = self._project(request), await request.json()
        if project is None:
            return _said(404, "Not Found")
        made = self.opened(project, said["head"], said["base"], said["title"], said["body"])
        return _said(422, "Validation Failed") if made is None else web.json_response(self._pull_json(project, made), status=201)

    async def _pull(self, request: web.Request, author: str) -> Answer:
        found = self._found(request)
        if found is None:
            return _said(404, "Not Found")
        return web.json_response(self._pull_json(*found))

    async def _comments(self, request: web.Request, author: str) -> Answer:
        found = self._found(request)
        if found is None:
            return _said(404, "Not Found")
        since = datetime.fromisoformat(request.query["since"]).timestamp() if "since" in request.query else 0.0
        said = [self._comment_json(comment) for comment in found[1].comments if max(comment.at, comment.edited_at) >= since]
        return self._paged(request, said)

    async def _add_comment(self, request: web.Request, author: str) -> Answer:
        found, body = self._found(request), await request.json()
        if found is None:
            return _said(404, "Not Found")
        if found[1].number in self.locked:
            return _said(403, "Unable to create comment because issue is locked.")
        if len(body["body"]) > 65_536:
            return _said(422, "Validation Failed")
        made = CommentState(id=self.new_id(), author=author, body=body["body"], at=time.time())
        found[1].comments.append(made)
        return web.json_response(self._comment_json(made), status=201)

    async def _edit_comment(self, request: web.Request, author: str) -> Answer:
        comment = self._comment(request)
        if comment is None:
            return _said(404, "Not Found")
        if comment.author != author:
            return _said(403, "Must have admin rights to Repository.")
        self.edit(comment, (await request.json())["body"])
        return web.json_response(self._comment_json(comment))

    async def _react(self, request: web.Request, author: str) -> Answer:
        comment, content = self._comment(request), (await request.json())["content"]
        if comment is None:
            return _said(404, "Not Found")
        there = content in comment.reactions
        comment.reactions += [] if there else [content]
        return web.json_response({"id": 1, "content": content}, status=200 if there else 201)

    async def _status(self, request: web.Request, author: str) -> Answer:
        project, said = self._project(request), await request.json()
        if project is None:
            return _said(404, "Not Found")
        commit = request.match_info["sha"]
        if commit not in pygit2.Repository(str(project.git)):
            return _said(422, f"No commit found for SHA: {commit}")
        if said["state"] not in ("error", "failure", "pending", "success") or len(said.get("description", "")) > 140:
            return _said(422, "Validation Failed")
        made = StatusState(commit, said.get("context", "default"), said["state"], said.get("description", ""), said.get("target_url", ""))
        project.statuses.append(made)
        return web.json_response({"id": 1, "state": made.state, "context": made.context}, status=201)

    def _project(self, request: web.Request) -> Project | None:
        return self.projects.get("{owner}/{name}".format(**request.match_info))

    def _found(self, request: web.Request) -> tuple[Project, PullState] | None:
        project = self._project(request)
        pull = project.pulls.get(int(request.match_info["number"])) if project else None
        return (project, pull) if project and pull else None

    def _comment(self, request: web.Request) -> CommentState | None:
        project = self._project(request)
        pulls = project.pulls.values() if project else ()
        return next((one for pull in pulls for one in pull.comments if one.id == request.match_info["id"]), None)

    def _paged(self, request: web.Request, items: Sequence[Any]) -> Answer:
        """A page, and a link to the next one."""
        size = min(int(request.query.get("per_page", 30)), self.page_most)
        return linked(request, self, items, size, etag=False)

    def _repo_json(self, name: str) -> dict[str, Any]:
        return {"full_name": name, "name": name.partition("/")[2], "clone_url": f"{self.url}/{name}.git", "default_branch": "main"}

    def _pull_json(self, project: Project, pull: PullState) -> dict[str, Any]:
        own = pull.source == project.git
        head_repo = (
            None
            if pull.number in self.lost
            else self._repo_json(project.name if own else f"{pull.author}/{project.name.partition('/')[2]}")
        )
        base = str(pygit2.Repository(str(project.git)).branches.local[pull.base].target)
        return {
            "number": pull.number,
            "title": pull.title,
            "user": {"login": pull.author, "id": 2},
            "state": "open" if pull.state == "open" else "closed",
            "draft": pull.draft,
            "html_url": f"{self.url}/{project.name}/pull/{pull.number}",
            "head": {"sha": pull.head, "ref": pull.branch, "repo": head_repo},
            "base": {"sha": base, "ref": pull.base, "repo": self._repo_json(project.name)},
            "merged_at": iso(pull.updated_at) if pull.state == "merged" else None,
            "merge_commit_sha": pull.merged_as or None,
            "updated_at": iso(pull.updated_at),
        }

    def _comment_json(self, comment: CommentState) -> dict[str, Any]:
        times = {"created_at": iso(comment.at), "updated_at": iso(max(comment.at, comment.edited_at))}
        return {"id": int(comment.id), "user": {"login": comment.author, "id": 2}, "body": comment.body} | times

    def payload(self, kind: str, project: Project, pull: PullState | None, **more: str) -> tuple[Mapping[str, str], bytes]:
        repository = {"id": 186853002, "private": False} | self._repo_json(project.name)
        if pull is None:
            made = (more["before"] == "" and "0" * 40) or more["before"], (more["after"] == "" and "0" * 40) or more["after"]
            return signed("push", {"ref": f"refs/heads/{more['branch']}", "before": made[0], "after": made[1], "repository": repository})
        if kind == "commented":
            comment = self._comment_json(CommentState(id=more["comment"], author=more["author"], body=more["body"], at=time.time()))
            issue = {
                "number": pull.number,
                "title": pull.title,
                "pull_request": {"html_url": f"{self.url}/{project.name}/pull/{pull.number}"},
            }
            return signed("issue_comment", {"action": "created", "issue": issue, "comment": comment, "repository": repository})
        said = {"action": ACTIONS[kind], "number": pull.number, "pull_request": self._pull_json(project, pull), "repository": repository}
        return signed("pull_request", said)


def signed(event: str, value: object, *, secret: str = SECRET, delivery: str = "") -> tuple[dict[str, str], bytes]:
    """Headers and body as GitHub sends them."""
    body = json_body(value)
    found = delivery or hashlib.sha256(body + str(time.time_ns()).encode()).hexdigest()[:32]
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": found, "X-Hub-Signature-256": signature, "User-Agent": "GitHub-Hookshot/0"}
    return headers | {"Content-Type": "application/json"}, body


def _said(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return web.json_response(
        {"message": message, "documentation_url": "https://docs.github.com/rest"}, status=status, headers=headers or {}
    )
