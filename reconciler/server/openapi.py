"""The API as an OpenAPI 3.1 document, made from the table of routes: what each takes, what it answers, and problem details for all that goes wrong."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from reconciler.reading.paging import Raw
from reconciler.server.problem import Problem
from reconciler.server.route import API, Nothing, Route, plain_path
from reconciler.wiring import VERSION

TEXT = """What the pages of a server show and do, for programs; docs/api.md tells how to use it. Whatever somebody may not see is not there for him: it is in no
list, and its own address answers 404."""
BEARER, SESSION, CSRF = "bearer", "session", "csrf"
SCHEMES = {
    BEARER: {"type": "http", "scheme": "bearer", "description": "An API token."},
    SESSION: {"type": "apiKey", "in": "cookie", "name": "__Host-octofleet", "description": "The session of somebody who has signed in."},
    CSRF: {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": "Of that session: with all that changes something."},
}
ERRORS = {"4XX": "What is wrong with what was asked.", "5XX": "The server could not answer; try again where `afterS` says so."}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document, as JSON values."""
    kinds = list(
        dict.fromkeys(
            [Problem, *(kind for route in routes for kind in (route.asks, route.answers, route.later or Problem) if kind is not Raw)]
        )
    )
    found, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(kinds, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(plain_path(API + route.path), {})[route.method.lower()] = _operation(route, schemas, components)
    used = _used(paths, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Octofleet", "version": VERSION, "description": " ".join(TEXT.split()), "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{BEARER: []}, {SESSION: []}],
        "paths": paths,
        "components": {"schemas": {name: components[name] for name in sorted(used)}, "securitySchemes": SCHEMES},
    }


def _used(tree: object, components: Mapping[str, Any]) -> set[str]:
    """The components that a part of the document leads to: queries stand in the paths themselves."""
    found: set[str] = set()
    left = [tree]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += item.values()
            if (name := _name(item)) in components and name not in found:
                found.add(name)
                left.append(components[name])
        elif isinstance(item, list):
            left += item
    return found


def _operation(route: Route, schemas: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    reads = route.method == "GET"
    parameters = [_of_path(name) for name in re.findall(r"\{(\w+)", route.path)]
    made: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Takes the permission `{route.action}`.",
        "tags": [route.path.split("/")[1]],
        "responses": _responses(route, schemas),
    }
    if reads:
        asked = components[_name(schemas[route.asks])]
        parameters += [_of_query(name, schema, name in asked.get("required", ())) for name, schema in asked["properties"].items()]
        parameters.append(_of_header("Last-Event-ID", "The last event that was read.") if route.stream else _if_none_match())
    else:
        made["security"] = [{BEARER: []}, {SESSION: [], CSRF: []}]
        if route.asks is not Nothing:
            made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[route.asks]}}}
    return made | ({"parameters": parameters} if parameters else {})


def _responses(route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    if route.answers is Raw:
        found: dict[str, Any] = {"200": {"description": route.summary, "content": {route.kind: {"schema": {"type": "string"}}}}}
    elif route.stream:
        schema = schemas[route.answers]
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
        event = {"type": "object", "required": ["event", "data"], "properties": {"event": {"type": "string"}, "data": data}}
        found = {
            "200": {"description": "Server-sent events, each as the schema says.", "content": {"text/event-stream": {"schema": event}}},
            "204": {"description": "There is nothing more to tell: do not come back."},
        }
    else:
        found = {str(route.status): {"description": route.summary, "content": {"application/json": {"schema": schemas[route.answers]}}}}
        if route.later is not None:
            content = {"application/json": {"schema": schemas[route.later]}}
            where = {"schema": {"type": "string"}, "description": "The list that it will be in.", "required": True}
            found["202"] = {"description": "It takes longer, and goes on.", "content": content, "headers": {"Location": where}}
        if route.method == "GET":
            found["200"]["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "Names what is answered.", "required": True}}
            found["304"] = {"description": "It is as `If-None-Match` names it."}
    return found | {
        status: {"description": text, "content": {"application/problem+json": {"schema": schemas[Problem]}}}
        for status, text in ERRORS.items()
    }


def _of_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _of_query(name: str, schema: Mapping[str, Any], required: bool) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != "description"}
    said = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": "query", "required": required, "schema": plain} | said


def _of_header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}


def _if_none_match() -> dict[str, Any]:
    return _of_header("If-None-Match", "ETags that are known: one of them is answered with 304.")


def _name(schema: Mapping[str, Any]) -> str:
    """The component that a reference names; empty if it is none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]
