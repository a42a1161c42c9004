"""What the doubles of REST APIs have in common: who may call, rate limits, pages, ETags, times."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from aiohttp import web

from tests.peers.forges.double import BOT, CommentState, Double, Project, PullState, json_body

Refuse = Callable[[web.Request], web.Response | None]


def guarded(routes: Iterable[web.RouteDef], refuse: Refuse) -> list[web.RouteDef]:
    """The routes, each asked only if `refuse` has no answer of its own."""

    def wrap(handler: Any) -> Any:
        @wraps(handler)
        async def asked(request: web.Request) -> web.StreamResponse:
            return refuse(request) or await handler(request)

        return asked

    return [web.route(route.method, route.path, wrap(route.handler)) for route in routes]


def limited(double: Double, request: web.Request) -> bool:
    """Whether its rate limit allows no more writes; counts this one."""
    if request.method == "GET" or double.writes_left is None:
        return False
    double.writes_left -= 1
    return double.writes_left < 0


def asked(request: web.Request, name: str, most: int) -> int:
    """A number of the query, at most so much."""
    return min(int(request.query.get(name, most)), most)


def answered(request: web.Request, value: object, headers: Mapping[str, str] | None = None, *, etag: bool = True) -> web.Response:
    """Some JSON with its ETag, or 304."""
    body = json_body(value)
    tag = f'W/"{hashlib.md5(body).hexdigest()}"'
    known = dict(headers or {}) | ({"ETag": tag} if etag else {})
    if etag and request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=known)
    return web.Response(body=body, content_type="application/json", headers=known)


def linked(request: web.Request, double: Double, items: Sequence[object], size: int, *, etag: bool = True) -> web.Response:
    """A page of a list, with the next one in the header `Link`."""
    page = int(request.query.get("page", 1))
    shown, more = items[(page - 1) * size : page * size], len(items) > page * size
    there = request.url.with_host("127.0.0.1").with_scheme("http").update_query(page=page + 1)
    return answered(request, shown, {"Link": f'<{there}>; rel="next"'} if more else {}, etag=etag)


def iso(at: float) -> str:
    """A time in milliseconds, as GitLab writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def comment_of(pull: PullState, key: str) -> CommentState:
    """A comment; 404 if there is none."""
    for comment in pull.comments:
        if comment.id == key:
            return comment
    raise web.HTTPNotFound(text='{"message":"404 Not found"}', content_type="application/json")


def pull_of(project: Project, key: str) -> PullState:
    """A pull request; 404 if there is none."""
    if int(key) not in project.pulls:
        raise web.HTTPNotFound(text='{"message":"404 Not found"}', content_type="application/json")
    return project.pulls[int(key)]


def rewritten(double: Double, comment: CommentState, body: str) -> CommentState:
    """Our own edit, by the API; 403 for a comment of somebody else."""
    if comment.author != BOT:
        raise web.HTTPForbidden(text='{"message":"403 Forbidden"}', content_type="application/json")
    double.edit(comment, body)
    return comment
