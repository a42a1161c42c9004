"""A double of Bitbucket Cloud, from the documentation of its REST API (2.0) and its webhooks. Accounts have ids that are not their nicknames; pull
requests give the first 12 digits of their commits."""

import hashlib
import hmac
import re
import time
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

import pygit2
from aiohttp import web

from tests.peers.forges.answers import answered, asked, comment_of, guarded, limited, pull_of, rewritten
from tests.peers.forges.double import BOT, SECRET, TOKEN, CommentState, Double, Project, PullState, StatusState, json_body

USER = "bot@example.net"
STATES = {"open": "OPEN", "merged": "MERGED", "closed": "DECLINED"}
KEY_MOST = 40
QUERY = re.compile(r'state="OPEN"(?: AND destination\.branch\.name="((?:[^"\\]|\\.)*)")?')
"""The filters that are understood: text in quotes, a quote in it after a backslash."""


def account_id(nickname: str) -> str:
    """The id of an account, which has nothing of its nickname."""
    return f"557058:{hashlib.md5(nickname.encode()).hexdigest()}"


class Bitbucket(Double):
    """Pull requests; no ref of the project's repository has their head."""

    ref = ""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: set[str] = set()
        """Comments that were deleted: they stay, empty."""
        self.page_most = 50

    def routes(self) -> list[web.RouteDef]:
        root = "/2.0/repositories/{workspace}/{repo}"
        request = root + "/pullrequests/{number}"
        routes = [
            web.get("/2.0/user", self._user),
            web.get(root + "/pullrequests", self._list),
            web.post(root + "/pullrequests", self._open),
            web.get(request, self._show),
            web.get(request + "/commits", self._commits),
            web.get(request + "/comments", self._comments),
            web.post(request + "/comments", self._comment),
            web.put(request + "/comments/{id}", self._rewrite),
            web.get(root + "/commit/{sha}", self._commit),
            web.post(root + "/commit/{sha}/statuses/build", self._status),
        ]
        return guarded(routes, self._refuse)

    def payload(self, kind: str, project: Project, pull: PullState | None, **more: str) -> tuple[Mapping[str, str], bytes]:
        known = {"repository": self._repository(project.name), "actor": self._account(more.get("author", "ada"))}
        if kind == "branch":
            sides = {new: self._tip(more["branch"], more[side]) for new, side in (("old", "before"), ("new", "after"))}
            change = sides | {"created": sides["old"] is None, "closed": sides["new"] is None, "forced": False}
            return self._signed("repo:push", {"push": {"changes": [change]}} | known)
        assert pull is not None
        known |= {"pullrequest": self._api(project, pull)}
        if kind == "commented":
            comment = CommentState(id=more["comment"], author=more["author"], body=more["body"], at=time.time())
            return self._signed("pullrequest:comment_created", {"comment": self._said(comment)} | known)
        event = {"opened": "created", "pushed": "updated", "closed": "rejected", "merged": "fulfilled"}[kind]
        return self._signed(f"pullrequest:{event}", known)

    def _tip(self, branch: str, commit: str) -> dict[str, object] | None:
        return {"type": "branch", "name": branch, "target": {"type": "commit", "hash": commit}} if commit else None

    def _signed(self, event: str, body: object) -> tuple[Mapping[str, str], bytes]:
        sent = json_body(body)
        headers = {"Content-Type": "application/json", "X-Event-Key": event, "X-Hook-UUID": str(uuid4()), "X-Request-UUID": str(uuid4())}
        headers |= {"X-Attempt-Number": "1", "X-Hub-Signature": f"sha256={hmac.new(SECRET.encode(), sent, hashlib.sha256).hexdigest()}"}
        return headers, sent

    def _refuse(self, request: web.Request) -> web.Response | None:
        kind, _, said = request.headers.get("Authorization", "").partition(" ")
        if (kind, said) != ("Bearer", TOKEN) and (kind != "Basic" or b64decode(said).decode() != f"{USER}:{TOKEN}"):
            return _error(401, "Token is invalid, expired, or not supported for this endpoint.")
        if limited(self, request):
            return web.Response(status=429, text="Rate limit for this resource has been exceeded")
        if "workspace" in request.match_info and self._name(request) not in self.projects:
            return _error(404, f"Repository {self._name(request)} not found")
        return None

    def _name(self, request: web.Request) -> str:
        return f"{request.match_info['workspace']}/{request.match_info['repo']}"

    def _found(self, request: web.Request) -> tuple[Project, PullState]:
        project = self.projects[self._name(request)]
        return project, pull_of(project, request.match_info["number"])

    def _account(self, nickname: str) -> dict[str, object]:
        key = account_id(nickname)
        return {"type": "user", "account_id": key, "uuid": f"{{{uuid4()}}}", "nickname": nickname, "display_name": "Some Body"}

    def _repository(self, name: str) -> dict[str, object]:
        return {"type": "repository", "full_name": name, "links": {"html": {"href": f"https://bitbucket.org/{name}"}}}

    async def _user(self, request: web.Request) -> web.Response:
        return answered(request, self._account(BOT))

    async def _list(self, request: web.Request) -> web.Response:
        project, query = self.projects[self._name(request)], request.query.get("q", 'state="OPEN"')
        asked_for = QUERY.fullmatch(query)
        if asked_for is None:
            return _error(400, "Invalid query")
        onto = re.sub(r"\\(.)", r"\1", asked_for[1] or "")
        found = [pull for pull in project.pulls.values() if pull.state == "open" and onto in ("", pull.base)]
        return self._paged(request, [self._api(project, pull) for pull in found])

    def _paged(self, request: web.Request, items: list[dict[str, object]]) -> web.Response:
        size, page = asked(request, "pagelen", self.page_most), int(request.query.get("page", 1))
        made = {"pagelen": size, "page": page, "values": items[(page - 1) * size : page * size]}
        if len(items) > page * size:
            made["next"] = str(request.url.update_query(page=page + 1))
        return answered(request, made)

    async def _open(self, request: web.Request) -> web.Response:
        project, said = self.projects[self._name(request)], await request.json()
        ends = (said["source"]["branch"]["name"], said["destination"]["branch"]["name"])
        made = self.opened(project, *ends, said["title"], said["description"])
        return _error(400, "There are no changes to be pulled") if made is None else web.json_response(self._api(project, made), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return answered(request, self._api(*self._found(request)))

    def _api(self, project: Project, pull: PullState) -> dict[str, object]:
        fork = f"{pull.author}/{project.name.partition('/')[2]}" if pull.source != project.git else project.name
        source = None if pull.number in self.lost else self._repository(fork)
        onto = {"branch": {"name": pull.base}, "repository": self._repository(project.name)}
        head = {"branch": {"name": pull.branch}, "commit": {"type": "commit", "hash": pull.head[:12]}, "repository": source}
        merged = {"type": "commit", "hash": pull.merged_as[:12]} if pull.merged_as else None
        made = {"type": "pullrequest", "id": pull.number, "title": pull.title, "state": STATES[pull.state], "draft": pull.draft}
        links = {"html": {"href": f"https://bitbucket.org/{project.name}/pull-requests/{pull.number}"}}
        return made | {"author": self._account(pull.author), "source": head, "destination": onto, "merge_commit": merged, "links": links}

    async def _commits(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        git = pygit2.Repository(str(pull.source))
        walked = git.walk(pygit2.Oid(hex=pull.head))
        return self._paged(request, [{"type": "commit", "hash": str(commit.id)} for commit in walked])

    async def _commit(self, request: web.Request) -> web.Response:
        git = pygit2.Repository(str(self.projects[self._name(request)].git))
        found = git.get(request.match_info["sha"])
        return answered(request, {"type": "commit", "hash": str(found.id)}) if found else _error(404, "Commit not found")

    async def _comments(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        shown = sorted(pull.comments, key=lambda one: one.at, reverse=request.query.get("sort") == "-created_on")
        return self._paged(request, [self._said(one) for one in shown])

    def _said(self, one: CommentState) -> dict[str, object]:
        gone = one.id in self.deleted
        made = {"id": int(one.id), "content": {"raw": "" if gone else one.body, "markup": "markdown"}, "user": self._account(one.author)}
        return made | {"created_on": _time(one.at), "updated_on": _time(one.edited_at or one.at + 0.003), "deleted": gone, "pending": False}

    async def _comment(self, request: web.Request) -> web.Response:
        _, pull = self._found(request)
        made = CommentState(id=self.new_id(), author=BOT, body=(await request.json())["content"]["raw"], at=time.time())
        pull.comments.append(made)
        return web.json_response(self._said(made), status=201)

    async def _rewrite(self, request: web.Request) -> web.Response:
        comment = comment_of(self._found(request)[1], request.match_info["id"])
        if comment.id not in self.deleted:
            rewritten(self, comment, (await request.json())["content"]["raw"])
        return web.json_response(self._said(comment))

    async def _status(self, request: web.Request) -> web.Response:
        project, said = self.projects[self._name(request)], await request.json()
        if len(said["key"]) > KEY_MOST or said["state"] not in ("SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED") or not said["url"]:
            return _error(400, "key: Ensure this value has at most 40 characters; or state or url are missing.")
        made = StatusState(
            commit=request.match_info["sha"], context=said["name"], state=said["state"], text=said["description"], url=said["url"]
        )
        project.statuses.append(made)
        return web.json_response({"key": said["key"], "state": made.state}, status=201)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"message": message}}, status=status)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
