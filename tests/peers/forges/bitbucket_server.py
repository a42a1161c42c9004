"""A double of Bitbucket Data Center, from the documentation of its REST API and its webhooks. Comments have versions; times are milliseconds."""

import hashlib
import hmac
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from uuid import uuid4

from aiohttp import web

from tests.peers.forges.answers import answered, asked, comment_of, guarded, limited, pull_of, rewritten
from tests.peers.forges.double import BOT, SECRET, TOKEN, CommentState, Double, Project, PullState, StatusState, json_body

COMMENT_MOST = 32_768
STATES = {"open": "OPEN", "merged": "MERGED", "closed": "DECLINED"}


class BitbucketServer(Double):
    """Pull requests. `answers`: which comment answers which, by id. Without `reactions` it is a version that has none."""

    ref = "refs/pull-requests/{}/from"

    def __init__(self, *, reactions: bool = True) -> None:
        super().__init__()
        self.answers: dict[str, str] = {}
        self.answered_read: list[Callable[[], None]] = []
        """What happens right after a comment was read."""
        self.reactions, self.page_most = reactions, 100

    def routes(self) -> list[web.RouteDef]:
        repository = "/projects/{project}/repos/{repo}"
        request = f"/rest/api/latest{repository}/pull-requests/{{number}}"
        routes = [
            web.get("/rest/api/latest/application-properties", self._properties),
            web.get(f"/rest/api/latest{repository}/pull-requests", self._list),
            web.post(f"/rest/api/latest{repository}/pull-requests", self._open),
            web.get(request, self._show),
            web.get(request + "/activities", self._activities),
            web.post(request + "/comments", self._comment),
            web.get(request + "/comments/{id}", self._read),
            web.put(request + "/comments/{id}", self._rewrite),
            web.post(f"/rest/api/latest{repository}/commits/{{sha}}/builds", self._status),
        ]
        if self.reactions:
            there = f"/rest/comment-likes/latest{repository}/pull-requests/{{number}}/comments/{{id}}/reactions/{{name}}"
            routes.append(web.put(there, self._react))
        return guarded(routes, self._refuse)

    def payload(self, kind: str, project: Project, pull: PullState | None, **more: str) -> tuple[Mapping[str, str], bytes]:
        known = {"date": time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime()), "actor": {"name": more.get("author", "ada"), "id": 2}}
        if kind == "branch":
            ref = f"refs/heads/{more['branch']}"
            change = {"ref": {"id": ref, "displayId": more["branch"], "type": "BRANCH"}, "refId": ref, "type": "UPDATE"}
            change |= {"fromHash": more["before"] or "0" * 40, "toHash": more["after"] or "0" * 40}
            return self._signed("repo:refs_changed", {"repository": self._repository(project, 5), "changes": [change]} | known)
        assert pull is not None
        known |= {"pullRequest": self._api(project, pull)}
        if kind == "commented":
            comment = CommentState(id=more["comment"], author=more["author"], body=more["body"], at=time.time())
            return self._signed("pr:comment:added", {"comment": self._said(comment)} | known)
        return self._signed(
            {"opened": "pr:opened", "pushed": "pr:from_ref_updated", "closed": "pr:declined", "merged": "pr:merged"}[kind], known
        )

    def _signed(self, event: str, body: dict[str, object]) -> tuple[Mapping[str, str], bytes]:
        sent = json_body({"eventKey": event} | body)
        made = hmac.new(SECRET.encode(), sent, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Event-Key": event, "X-Request-Id": str(uuid4())}
        return headers | {"X-Hub-Signature": f"sha256={made}"}, sent

    def _refuse(self, request: web.Request) -> web.Response | None:
        kind, _, said = request.headers.get("Authorization", "").partition(" ")
        if (kind, said) != ("Bearer", TOKEN) and (kind != "Basic" or b64decode(said).decode() != f"{BOT}:{TOKEN}"):
            return _error(401, "Authentication failed. Please check your credentials and try again.")
        if limited(self, request):
            return web.json_response({"errors": [{"message": "You are rate limited"}]}, status=429, headers={"Retry-After": "42"})
        if "project" in request.match_info and self._name(request) not in self.projects:
            return _error(404, f"Repository {self._name(request)} does not exist.")
        return None

    def _name(self, request: web.Request) -> str:
        return f"{request.match_info['project']}/{request.match_info['repo']}"

    def _found(self, request: web.Request) -> tuple[Project, PullState]:
        project = self.projects[self._name(request)]
        return project, pull_of(project, request.match_info["number"])

    def _repository(self, project: Project, key: int) -> dict[str, object]:
        owner, _, slug = project.name.partition("/")
        return {"id": key, "slug": slug, "name": slug, "project": {"id": 1, "key": owner if key == 5 else "~FORK"}}

    async def _properties(self, request: web.Request) -> web.Response:
        return answered(request, {"version": "8.19.0", "displayName": "Bitbucket"}, {"X-AUSERNAME": BOT}, etag=False)

    def _paged(self, request: web.Request, items: list[dict[str, object]]) -> web.Response:
        size, start = asked(request, "limit", self.page_most), int(request.query.get("start", 0))
        shown, last = items[start : start + size], len(items) <= start + size
        page = {"size": len(shown), "limit": size, "start": start, "values": shown, "isLastPage": last}
        return answered(request, page | {"nextPageStart": None if last else start + size}, etag=False)

    async def _list(self, request: web.Request) -> web.Response:
        project, query = self.projects[self._name(request)], request.query
        pulls = [pull for pull in project.pulls.values() if STATES[pull.state] == query.get("state", "OPEN")]
        assert query.get("direction", "INCOMING") == "INCOMING"
        return self._paged(request, [self._api(project, pull) for pull in pulls if query.get("at", "") in ("", f"refs/heads/{pull.base}")])

    async def _open(self, request: web.Request) -> web.Response:
        project, said = self.projects[self._name(request)], await request.json()
        for end in (said["fromRef"], said["toRef"]):
            assert "{key}/{slug}".format(key=end["repository"]["project"]["key"], slug=end["repository"]["slug"]) == project.name
        ends = [said[end]["id"].removeprefix("refs/heads/") for end in ("fromRef", "toRef")]
        made = self.opened(project, *ends, said["title"], said["description"])
        if made is None:
            return _error(409, "Only one pull request may be open for a given source and target branch")
        return web.json_response(self._api(project, made), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return answered(request, self._api(*self._found(request)), etag=False)

    def _api(self, project: Project, pull: PullState) -> dict[str, object]:
        fork = 6 if pull.source != project.git else 5
        head = {
            "id": f"refs/heads/{pull.branch}",
            "displayId": pull.branch,
            "latestCommit": pull.head,
            "repository": self._repository(project, fork),
        }
        onto = {
            "id": f"refs/heads/{pull.base}",
            "displayId": pull.base,
            "latestCommit": "0" * 40,
            "repository": self._repository(project, 5),
        }
        made = {
            "id": pull.number,
            "version": 1,
            "title": pull.title,
            "state": STATES[pull.state],
            "draft": pull.draft,
            "fromRef": head,
            "toRef": onto,
        }
        if pull.merged_as:
            made["properties"] = {"mergeCommit": {"id": pull.merged_as, "displayId": pull.merged_as[:11]}}
        owner, _, slug = project.name.partition("/")
        links = {"self": [{"href": f"{self.url}/projects/{owner}/repos/{slug}/pull-requests/{pull.number}"}]}
        return made | {"author": {"user": {"name": pull.author, "slug": pull.author, "displayName": "Some Body"}}, "links": links}

    async def _activities(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        roots = [one for one in pull.comments if one.id not in self.answers]
        found = [
            {"id": 70 + at, "action": "COMMENTED", "commentAction": "ADDED", "comment": self._tree(pull, one)}
            for at, one in enumerate(roots)
        ]
        opened = {"id": 69, "action": "OPENED", "createdDate": int(pull.updated_at * 1000), "user": {"name": pull.author}}
        return self._paged(request, [*reversed(found), opened])

    def _tree(self, pull: PullState, root: CommentState) -> dict[str, object]:
        below = [one for one in pull.comments if self.answers.get(one.id) == root.id]
        return self._said(root) | {"comments": [self._tree(pull, one) for one in below]}

    def _said(self, one: CommentState) -> dict[str, object]:
        made = {"id": int(one.id), "version": one.edits, "text": one.body, "author": {"name": one.author, "displayName": "Some Body"}}
        return made | {"createdDate": int(one.at * 1000), "updatedDate": int((one.edited_at or one.at) * 1000), "comments": []}

    async def _comment(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        text = (await request.json())["text"]
        if len(text) > COMMENT_MOST:
            return _error(400, "The comment text must be between 1 and 32768 characters long.")
        made = CommentState(id=self.new_id(), author=BOT, body=text, at=time.time())
        pull.comments.append(made)
        return web.json_response(self._said(made), status=201)

    async def _read(self, request: web.Request) -> web.Response:
        answer = answered(request, self._said(comment_of(self._found(request)[1], request.match_info["id"])), etag=False)
        for happen in self.answered_read:
            happen()
        return answer

    async def _rewrite(self, request: web.Request) -> web.Response:
        comment, said = comment_of(self._found(request)[1], request.match_info["id"]), await request.json()
        if said["version"] != comment.edits:
            return _error(409, "You are attempting to modify a comment based on out-of-date information.")
        return web.json_response(self._said(rewritten(self, comment, said["text"])))

    async def _react(self, request: web.Request) -> web.Response:
        comment, name = comment_of(self._found(request)[1], request.match_info["id"]), request.match_info["name"]
        if name not in comment.reactions:
            comment.reactions.append(name)
        return web.json_response({"emoticon": {"shortcut": name}})

    async def _status(self, request: web.Request) -> web.Response:
        project, said = self.projects[self._name(request)], await request.json()
        if not (said["key"] and said["url"]) or said["state"] not in ("SUCCESSFUL", "FAILED", "INPROGRESS", "CANCELLED", "UNKNOWN"):
            return _error(400, "The build status is missing a key, a state or a URL.")
        made = StatusState(
            commit=request.match_info["sha"], context=said["key"], state=said["state"], text=said["description"], url=said["url"]
        )
        project.statuses.append(made)
        return web.Response(status=204)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"errors": [{"context": None, "message": message, "exceptionName": None}]}, status=status)
