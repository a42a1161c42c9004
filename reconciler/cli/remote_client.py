"""What a command asks a server over its API: with a token, over HTTPS, or without encryption on this machine alone."""

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from reconciler.errors import OctofleetError, Refused
from reconciler.loopback import is_loopback
from reconciler.reading.next_step import of_server

API = "/api/v1"
WITHIN_S = 120.0
ANSWER_MOST = 64 << 20
"""Bytes of an answer."""
HINTS = {
    "unauthenticated": "give OCTOFLEET_TOKEN or OCTOFLEET_TOKEN_FILE a token that is live: octofleet token, at the server, lists them",
    "no-page": "check --server: it takes the URL of the server alone, without the path of a page",
}
"""What to do here about what the server says to any program, by its code."""
T = TypeVar("T")


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """As much of problem details as a command tells."""

    detail: str
    code: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A server by its URL, and the token that says who asks. `ca_file`: who vouches for it, if the system does not know."""

    url: str
    token: str
    ca_file: str = ""

    def get(self, answers: type[T], *path: str, **query: object) -> T:
        """A document. Raises `Refused` for what the server refuses, `OctofleetError` if it fails, does not answer, or is none."""
        asked = {name: said for name, said in query.items() if said not in ("", None)}
        return self._answer(answers, "GET", path, f"?{urlencode(asked)}" if asked else "", None)

    def post(self, answers: type[T], *path: str, **said: object) -> T:
        """What comes of a word. Raises as `get` does."""
        return self._answer(answers, "POST", path, "", said)

    def _answer(self, answers: type[T], method: str, path: tuple[str, ...], query: str, body: Mapping[str, object] | None) -> T:
        where = "/".join(quote(part, safe="") for part in path)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        sent = None if body is None else msgspec.json.encode(body)
        if sent is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}{API}/{where}{query}", data=sent, headers=headers, method=method)  # noqa: S310 - checked by `remote`
        try:
            with self._opener().open(request, timeout=WITHIN_S) as answer:
                read = answer.read(ANSWER_MOST)
        except urllib.error.HTTPError as error:
            raise _refused(error, self.url) from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", error)
            hint = "check the URL, OCTOFLEET_CA_FILE and the network between"
            raise OctofleetError(f"{self.url} does not answer: {why}", hint=hint, code="server-away") from None
        try:
            return msgspec.json.decode(read, type=answers)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _no_server(self.url, f"otherwise than this octofleet understands: {error}") from None

    def _opener(self) -> urllib.request.OpenerDirector:
        """What follows no redirect: it would take the token elsewhere. No proxy reads what is not encrypted."""
        context = ssl.create_default_context(cafile=self.ca_file or None)
        proxies = urllib.request.ProxyHandler({} if self.url.startswith("http:") else None)
        return urllib.request.build_opener(_Stays(), proxies, urllib.request.HTTPSHandler(context=context))


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """No."""


def remote(url: str, environment: Mapping[str, str] = os.environ) -> Remote:
    """The server at a URL, with the token of `OCTOFLEET_TOKEN` or of the file that `OCTOFLEET_TOKEN_FILE` names. Raises `OctofleetError`."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("https", "http") and not (parts.username or parts.query or parts.fragment) and parts.port != 0
    except ValueError:
        right = False
    if not right or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        hint = "for example https://octofleet.example.com"
        raise OctofleetError("--server is no URL of a server, without credentials", hint=hint, code="usage")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        hint = "give the server a certificate (docs/operations.md), and say https"
        raise OctofleetError(f"{parts.hostname} is not asked without encryption: others could read the token", hint=hint, code="usage")
    return Remote(url=url.rstrip("/"), token=_token(environment), ca_file=environment.get("OCTOFLEET_CA_FILE", ""))


def _token(environment: Mapping[str, str]) -> str:
    said, file = environment.get("OCTOFLEET_TOKEN", ""), environment.get("OCTOFLEET_TOKEN_FILE", "")
    try:
        token = said.strip() or (Path(file).read_text().strip() if file else "")
    except (OSError, ValueError) as error:
        text = f"cannot read OCTOFLEET_TOKEN_FILE {file}: {getattr(error, 'strerror', None) or 'it holds no text'}"
        raise OctofleetError(text, hint="make it readable for you alone", code="token") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        hint = "set OCTOFLEET_TOKEN or OCTOFLEET_TOKEN_FILE; octofleet token create makes one, at the server"
        raise OctofleetError("there is no token to ask the server with" if not token else "the token is none", hint=hint, code="token")
    return token


def _refused(error: urllib.error.HTTPError, url: str) -> OctofleetError:
    """What the server says, or that what answers is none."""
    try:
        said = msgspec.json.decode(error.read(1 << 20), type=Said)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError, HTTPException):
        return _no_server(url, f"with {error.code}, and not as a server of Octofleet does")
    kind = Refused if error.code < 500 else OctofleetError
    return kind(said.detail, hint=HINTS.get(said.code) or of_server(said.hint, url), code=said.code)


def _no_server(url: str, how: str) -> OctofleetError:
    return OctofleetError(f"{url} answers {how}", hint="check that the URL is that of octofleet serve, of this version", code="server")
