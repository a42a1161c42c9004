"""Errors over HTTP: problem details (RFC 9457) with the codes of the command's errors, and the status that says the same."""

from typing import Any

import msgspec

from reconciler.errors import InputError, OctofleetError, Refused, RetryLater
from reconciler.reading.next_step import over_http
from reconciler.report.as_json import problem_document
from reconciler.source.errors import strip_credentials
from reconciler.store.engine import Unavailable

STATUS = {
    "usage": 400,
    "scope": 400,
    "short-plan": 400,
    "request": 400,
    "ambiguous-revision": 400,
    "sign-in": 401,
    "unauthenticated": 401,
    "forbidden": 403,
    "csrf": 403,
    "invalid-input": 422,
    "unknown-revision": 404,
    "ambiguous-ref": 404,
    "method": 405,
    "slow-request": 408,
    "too-large": 413,
    "long-address": 414,
    "type": 415,
    "expectation": 417,
    "large-headers": 431,
}
LATER = {"too-many-tries": 429, "busy": 503, "slow": 503}


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """RFC 9457. `type` is `urn:octofleet:error:CODE`; `hint` the next step, `problems` those of the repository, as `octofleet validate --json` has them."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    problems: list[dict[str, Any]] = []
    after_s: float = 0.0


def problem(error: Exception) -> Problem:
    """What is said of an error. Of one that nobody foresaw only that there was one: its text may hold anything."""
    if not isinstance(error, OctofleetError):
        hint = "the server's log says more; report it with what was asked"
        return Problem(type=_type("internal"), title="Internal error", status=500, detail="an internal error", code="internal", hint=hint)
    problems = [problem_document(found) for found in error.problems] if isinstance(error, InputError) else []
    return Problem(
        type=_type(error.code),
        title=error.code.replace("-", " ").capitalize(),
        status=_status(error),
        detail=strip_credentials(error.message),
        code=error.code,
        hint=over_http(strip_credentials(error.hint)),
        problems=problems,
        after_s=error.after_s if isinstance(error, RetryLater | Refused) else 0.0,
    )


def _status(error: OctofleetError) -> int:
    if error.code in STATUS:
        return STATUS[error.code]
    if isinstance(error, Unavailable | RetryLater) or error.code in LATER:
        return LATER.get(error.code, 503)
    if error.code.startswith("no-"):
        return 404
    return 409 if isinstance(error, Refused) else 500


def _type(code: str) -> str:
    return f"urn:octofleet:error:{code}"
