"""A double of GitLab, from the documentation of its REST API (v4) and its webhooks."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from uuid import uuid4

from aiohttp import web

from tests.peers.forges.answers import answered, asked, comment_of, guarded, iso, limited, linked, pull_of, rewritten
from tests.peers.forges.double import BOT, SECRET, TOKEN, CommentState, Double, Project, PullState, StatusState, json_body

SIGNING = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, 123456"[:32]).decode()
NOTE_MOST = 1_000_000
TRANSITION = 'Cannot transition status via :run from :{0} (Reason(s): Status cannot transition via "run")'


class GitLab(Double):
    """Merge requests. With `signing`, deliveries are signed; else they carry the secret."""

    ref = "refs/merge-requests/{}/head"

    def __init__(self, *, signing: bool = False) -> None:
        super().__init__()
        self.signing, self.squashed, self.forwarded = signing, set[int](), set[int]()
        self.page_most = 100

    def routes(self) -> list[web.RouteDef]:
        request = "/api/v4/projects/{id}/merge_requests/{iid}"
        routes = [
            web.get("/api/v4/user", self._user),
            web.get("/api/v4/projects/{id}/merge_requests", self._list),
            web.post("/api/v4/projects/{id}/merge_requests", self._open),
            web.get(request, self._show),
            web.get(request + "/notes", self._notes),
            web.post(request + "/notes", self._note),
            web.put(request + "/notes/{note}", self._rewrite),
            web.post(request + "/notes/{note}/award_emoji", self._award),
            web.post("/api/v4/projects/{id}/statuses/{sha}", self._status),
        ]
        return guarded(routes, self._refuse)

    def merge(self, project: Project, pull: PullState, *, squash: bool = False) -> str:
        if squash:
            self.squashed.add(pull.number)
        return super().merge(project, pull, squash=squash)

    def payload(self, kind: str, project: Project, pull: PullState | None, **more: str) -> tuple[Mapping[str, str], bytes]:
        known = {
            "project": {"id": 5, "name": project.name.rpartition("/")[2], "path_with_namespace": project.name, "default_branch": "main"}
        }
        user = {
            "user": {
                "id": 51,
                "name": "Somebody",
                "username": more.get("author") or (pull.author if pull else "ada"),
                "email": "[REDACTED]",
            }
        }
        if kind == "branch":
            body = {
                "object_kind": "push",
                "event_name": "push",
                "ref": f"refs/heads/{more['branch']}",
                "user_username": "ada",
                "project_id": 5,
            }
            return self._signed("Push Hook", body | known | {side: more[side] or "0" * 40 for side in ("before", "after")})
        assert pull is not None
        request = self._hook_request(pull)
        if kind == "commented":
            at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            note = {"id": int(more["comment"]), "note": more["body"], "noteable_type": "MergeRequest", "system": False, "action": "create"}
            note |= {"created_at": at, "updated_at": at, "author_id": 51}
            return self._signed("Note Hook", {"object_kind": "note", "object_attributes": note, "merge_request": request} | known | user)
        action = {"opened": "open", "pushed": "update", "closed": "close", "merged": "merge"}[kind]
        return self._signed(
            "Merge Request Hook", {"object_kind": "merge_request", "object_attributes": request | {"action": action}} | known | user
        )

    def _hook_request(self, pull: PullState) -> dict[str, object]:
        state = "opened" if pull.state == "open" else pull.state
        return {"iid": pull.number, "title": pull.title, "state": state, "source_branch": pull.branch, "target_branch": pull.base}

    def _signed(self, event: str, body: object) -> tuple[Mapping[str, str], bytes]:
        sent, key, at = json_body(body), str(uuid4()), str(int(time.time()))
        headers = {"Content-Type": "application/json", "X-Gitlab-Event": event, "X-Gitlab-Event-UUID": str(uuid4()), "Idempotency-Key": key}
        headers |= {"webhook-id": key, "webhook-timestamp": at}
        if not self.signing:
            return headers | {"X-Gitlab-Token": SECRET}, sent
        made = hmac.new(base64.b64decode(SIGNING.removeprefix("whsec_")), f"{key}.{at}.".encode() + sent, hashlib.sha256).digest()
        return headers | {"webhook-signature": f"v1,{base64.b64encode(made).decode()}"}, sent

    def _refuse(self, request: web.Request) -> web.Response | None:
        said = request.headers.get("PRIVATE-TOKEN") or request.headers.get("Authorization", "").removeprefix("Bearer ")
        if said != TOKEN:
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        if limited(self, request):
            headers = {"Retry-After": "42", "RateLimit-Reset": str(int(time.time()) + 42), "RateLimit-Remaining": "0"}
            return web.Response(status=429, text="Retry later", headers=headers)
        if (name := request.match_info.get("id")) is not None and name not in self.projects:
            return web.json_response({"message": "404 Project Not Found"}, status=404)
        return None

    def _found(self, request: web.Request) -> tuple[Project, PullState]:
        project = self.projects[request.match_info["id"]]
        return project, pull_of(project, request.match_info["iid"])

    async def _user(self, request: web.Request) -> web.Response:
        return answered(request, {"id": 1, "username": BOT, "name": "Octofleet", "state": "active", "bot": True})

    async def _list(self, request: web.Request) -> web.Response:
        project = self.projects[request.match_info["id"]]
        state, branch = request.query.get("state", "all"), request.query.get("target_branch")
        found = [self._api(project, pull) for pull in project.pulls.values() if branch in (None, pull.base)]
        shown = [one for one in found if state in ("all", one["state"])]
        return linked(request, self, shown, asked(request, "per_page", self.page_most))

    async def _open(self, request: web.Request) -> web.Response:
        project, said = self.projects[request.match_info["id"]], await request.json()
        made = self.opened(project, said["source_branch"], said["target_branch"], said["title"], said["description"])
        if made is None:
            return web.json_response({"message": ["Another open merge request already exists for this source branch"]}, status=409)
        return web.json_response(self._api(project, made), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return answered(request, self._api(*self._found(request)))

    def _api(self, project: Project, pull: PullState) -> dict[str, object]:
        fork = pull.source != project.git
        source = None if pull.number in self.lost else 9000 + pull.number if fork else 5
        squashed = pull.merged_as if pull.number in self.squashed else None
        merged = None if squashed or pull.number in self.forwarded else pull.merged_as or None
        url = f"{self.url}/{project.name}/-/merge_requests/{pull.number}"
        made = {
            "id": 700 + pull.number,
            "project_id": 5,
            "source_project_id": source,
            "target_project_id": 5,
            "sha": pull.head,
            "web_url": url,
        }
        made |= {
            "author": {"id": 2, "username": pull.author, "name": "Somebody"},
            "merge_commit_sha": merged,
            "squash_commit_sha": squashed,
        }
        return made | self._hook_request(pull) | {"draft": pull.draft, "work_in_progress": pull.draft, "updated_at": iso(pull.updated_at)}

    async def _notes(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        assert request.query.get("order_by", "created_at") == "created_at"
        found = sorted(pull.comments, key=lambda one: one.at, reverse=request.query.get("sort", "desc") == "desc")
        moved = CommentState(id="999", author=pull.author, body="changed the description", at=pull.comments[0].at if pull.comments else 0.0)
        shown = [self._said(one) for one in found] + [self._said(moved) | {"system": True}]
        return linked(request, self, shown, asked(request, "per_page", self.page_most))

    def _said(self, one: CommentState) -> dict[str, object]:
        times = {"created_at": iso(one.at), "updated_at": iso(one.edited_at or one.at)}
        author = {"id": 3, "username": one.author, "name": "Anybody", "state": "active"}
        return {"id": int(one.id), "body": one.body, "author": author, "system": False, "internal": False, "imported": False} | times

    async def _note(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        body = (await request.json())["body"]
        if len(body) > NOTE_MOST:
            return web.json_response({"message": {"note": ["is too long (maximum is 1000000 characters)"]}}, status=400)
        made = CommentState(id=self.new_id(), author=BOT, body=body, at=time.time())
        pull.comments.append(made)
        return web.json_response(self._said(made), status=201)

    async def _rewrite(self, request: web.Request) -> web.Response:
        comment = comment_of(self._found(request)[1], request.match_info["note"])
        return web.json_response(self._said(rewritten(self, comment, (await request.json())["body"])))

    async def _award(self, request: web.Request) -> web.Response:
        comment, name = comment_of(self._found(request)[1], request.match_info["note"]), (await request.json())["name"]
        if name in comment.reactions:
            return web.json_response({"message": "404 Award Emoji Name has already been taken Not Found"}, status=404)
        comment.reactions.append(name)
        return web.json_response({"id": 1, "name": name}, status=201)

    async def _status(self, request: web.Request) -> web.Response:
        project, said = self.projects[request.match_info["id"]], await request.json()
        commit, state = request.match_info["sha"], said["state"]
        if state not in ("pending", "running", "success", "failed", "canceled", "skipped") or len(said.get("description", "")) > 255:
            return web.json_response({"message": "400 Bad request"}, status=400)
        set_now = {(one.commit, one.context): one.state for one in project.statuses}
        if set_now.get((commit, said["name"])) == state:
            return web.json_response({"message": TRANSITION.format(state)}, status=400)
        made = StatusState(
            commit=commit, context=said["name"], state=state, text=said.get("description", ""), url=said.get("target_url", "")
        )
        project.statuses.append(made)
        return web.json_response({"id": 1, "sha": commit, "status": state, "name": made.context}, status=201)
