"""An answer as the HTTP library writes it, and the headers that every one has."""

from aiohttp import web

from reconciler.server.answer import Answer

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "private, no-store",
}
"""On every answer; RFC 9110 and the Fetch, CSP and Permissions Policy specifications."""


def written(answer: Answer) -> web.Response:
    """An answer on its way."""
    headers = HEADERS | dict(answer.headers) | ({"Content-Type": answer.kind} if answer.body else {})
    if "ETag" in headers:
        headers["Cache-Control"] = "private, no-cache"
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)
