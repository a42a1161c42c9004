"""A double of Gitea and Forgejo, from the description of their API (v1) and the form of their webhooks."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from aiohttp import web

from tests.peers.forges.answers import answered, asked, guarded, limited, linked, pull_of, rewritten
from tests.peers.forges.double import BOT, SECRET, TOKEN, CommentState, Double, Project, PullState, StatusState, json_body

COMMENT_MOST = 65_535


class Gitea(Double):
    """Pull requests. `agit`: numbers of those that were pushed for review by somebody who may only read. With `forgejo`, headers are Forgejo's."""

    def __init__(self, *, forgejo: bool = False) -> None:
        super().__init__()
        self.forgejo, self.agit, self.page_most = forgejo, set[int](), 50
        self.reactions_refused = False

    def routes(self) -> list[web.RouteDef]:
        root = "/api/v1/repos/{owner}/{repo}"
        routes = [
            web.get("/api/v1/user", self._user),
            web.get(root + "/pulls", self._list),
            web.post(root + "/pulls", self._open),
            web.get(root + "/pulls/{number}", self._show),
            web.get(root + "/issues/{number}/comments", self._comments),
            web.post(root + "/issues/{number}/comments", self._comment),
            web.patch(root + "/issues/comments/{id}", self._rewrite),
            web.post(root + "/issues/comments/{id}/reactions", self._react),
            web.post(root + "/statuses/{sha}", self._status),
        ]
        return guarded(routes, self._refuse)

    def payload(self, kind: str, project: Project, pull: PullState | None, **more: str) -> tuple[Mapping[str, str], bytes]:
        known = {
            "repository": {"id": 5, "full_name": project.name, "default_branch": "main"},
            "sender": {"login": more.get("author", "ada")},
        }
        if kind == "branch":
            sides = {side: more[side] or "0" * 40 for side in ("before", "after")}
            return self._signed("push", {"ref": f"refs/heads/{more['branch']}", "pusher": {"login": "ada"}, "commits": []} | sides | known)
        assert pull is not None
        if kind == "commented":
            at = _time(time.time())
            comment = {
                "id": int(more["comment"]),
                "body": more["body"],
                "user": {"login": more["author"]},
                "created_at": at,
                "updated_at": at,
            }
            issue = {"number": pull.number, "title": pull.title, "pull_request": {"merged": False, "merged_at": None}}
            return self._signed("issue_comment", {"action": "created", "comment": comment, "issue": issue, "is_pull": True} | known)
        action = {"opened": "opened", "pushed": "synchronized", "closed": "closed", "merged": "closed"}[kind]
        return self._signed("pull_request", {"action": action, "number": pull.number, "pull_request": self._api(project, pull)} | known)

    def _signed(self, event: str, body: object) -> tuple[Mapping[str, str], bytes]:
        sent = json_body(body)
        made, key = hmac.new(SECRET.encode(), sent, hashlib.sha256).hexdigest(), str(uuid4())
        brands = ("Forgejo", "Gitea") if self.forgejo else ("Gitea",)
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": f"sha256={made}",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": key,
        }
        for brand in brands:
            headers |= {f"X-{brand}-Event": event, f"X-{brand}-Delivery": key, f"X-{brand}-Signature": made}
        return headers, sent

    def _refuse(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            return web.json_response({"message": "invalid username, password or token", "url": f"{self.url}/api/swagger"}, status=401)
        if limited(self, request):
            return web.Response(status=429, headers={"Retry-After": "42"})
        if "owner" in request.match_info and self._name(request) not in self.projects:
            return web.json_response({"message": "The target couldn't be found.", "errors": [], "url": ""}, status=404)
        return None

    def _name(self, request: web.Request) -> str:
        return f"{request.match_info['owner']}/{request.match_info['repo']}"

    def _found(self, request: web.Request) -> tuple[Project, PullState]:
        project = self.projects[self._name(request)]
        return project, pull_of(project, request.match_info["number"])

    def _comment_of(self, request: web.Request) -> CommentState:
        for pull in self.projects[self._name(request)].pulls.values():
            for comment in pull.comments:
                if comment.id == request.match_info["id"]:
                    return comment
        raise web.HTTPNotFound(text='{"message":"not found"}', content_type="application/json")

    async def _user(self, request: web.Request) -> web.Response:
        return answered(request, {"id": 1, "login": BOT, "full_name": "Octofleet"}, etag=False)

    async def _list(self, request: web.Request) -> web.Response:
        project, state = self.projects[self._name(request)], request.query.get("state", "open")
        found = [self._api(project, pull) for pull in project.pulls.values()]
        shown = [one for one in found if state in ("all", one["state"])]
        return linked(request, self, shown, asked(request, "limit", self.page_most), etag=False)

    async def _open(self, request: web.Request) -> web.Response:
        project, said = self.projects[self._name(request)], await request.json()
        made = self.opened(project, said["head"], said["base"], said["title"], said["body"])
        if made is None:
            return web.json_response({"message": "pull request already exists for these targets"}, status=409)
        return web.json_response(self._api(project, made), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return answered(request, self._api(*self._found(request)), etag=False)

    def _api(self, project: Project, pull: PullState) -> dict[str, object]:
        fork, lost = pull.source != project.git, pull.number in self.lost
        own = {"label": pull.base, "ref": pull.base, "repo_id": 5, "repo": {"id": 5, "full_name": project.name}}
        head = {"label": pull.branch, "ref": pull.branch, "repo_id": 6 if fork else 5, "repo": {"id": 6 if fork else 5}}
        if pull.number in self.agit:
            head |= {"label": "", "ref": f"refs/pull/{pull.number}/head"}
        if lost:
            head |= {"ref": f"refs/pull/{pull.number}/head", "repo_id": -1, "repo": None}
        made = {"number": pull.number, "title": pull.title, "state": "open" if pull.state == "open" else "closed", "draft": pull.draft}
        made |= {"merged": pull.state == "merged", "merge_commit_sha": pull.merged_as or None, "user": {"login": pull.author}}
        return made | {"html_url": f"{self.url}/{project.name}/pulls/{pull.number}", "base": own, "head": head | {"sha": pull.head}}

    async def _comments(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        since = datetime.fromisoformat(request.query["since"]).timestamp() if "since" in request.query else 0.0
        shown = [self._said(one) for one in pull.comments if int(one.edited_at or one.at) >= since]
        return answered(request, shown, etag=False)

    def _said(self, one: CommentState) -> dict[str, object]:
        times = {"created_at": _time(one.at), "updated_at": _time(one.edited_at or one.at)}
        return {"id": int(one.id), "body": one.body, "user": {"login": one.author}, "original_author": "", "assets": []} | times

    async def _comment(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        body = (await request.json())["body"]
        if len(body) > COMMENT_MOST:
            return web.json_response({"message": "comment is too long"}, status=422)
        made = CommentState(id=self.new_id(), author=BOT, body=body, at=time.time())
        pull.comments.append(made)
        return web.json_response(self._said(made), status=201)

    async def _rewrite(self, request: web.Request) -> web.Response:
        return web.json_response(self._said(rewritten(self, self._comment_of(request), (await request.json())["body"])))

    async def _react(self, request: web.Request) -> web.Response:
        comment, name = self._comment_of(request), (await request.json())["content"]
        if self.reactions_refused:
            return web.json_response({"message": "'eyes' is not an allowed reaction"}, status=403)
        there = name in comment.reactions
        if not there:
            comment.reactions.append(name)
        return web.json_response({"content": name, "user": {"login": BOT}}, status=200 if there else 201)

    async def _status(self, request: web.Request) -> web.Response:
        project, said = self.projects[self._name(request)], await request.json()
        if said["state"] not in ("pending", "success", "error", "failure", "warning"):
            return web.json_response({"message": "invalid state"}, status=422)
        commit = request.match_info["sha"]
        made = StatusState(commit=commit, context=said["context"], state=said["state"], text=said["description"], url=said["target_url"])
        project.statuses.append(made)
        return web.json_response({"id": 1, "status": made.state, "context": made.context}, status=201)


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at)).astimezone().isoformat()
