"""HTTP to one AWX, Tower or Automation Platform controller: JSON in and out, bounded in time and size, each failure as the error that it is.

Follows the published API of AWX, version 2 (`/api/v2/`, docs.ansible.com, "Automation Controller API Reference"). The token is read again for each
conversation, so that it may be renewed while the server runs. No message holds it; no redirect, proxy or link to another host is followed.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.loopback import is_loopback

if TYPE_CHECKING:
    from ssl import SSLContext

CALL_S = 30.0
"""The longest that one request may take without a sign of life."""
MOST_BYTES = 64 << 20
MOST_PAGES = 10_000
MOST_WORDS = 300
PAGE = 200
"""What AWX gives at most on one page."""
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwxSettings:
    """One provider of type `awx` from the server's settings. Names are AWX's own; `project_url` is where AWX fetches the repository from, empty: from
    where Octofleet does. `timeout_s`: the longest one job may take. `keep`: which results of tasks are told one by one, `changes` or `all`."""

    name: str
    url: str
    organization: str
    token_file: Path | None = None
    token_env: str = ""
    ca_file: Path | None = None
    project_url: str = ""
    project_credential: str = ""
    credentials: tuple[str, ...] = ()
    instance_groups: tuple[str, ...] = ()
    execution_environment: str = ""
    forks: int = 0
    user: str = ""
    timeout_s: float = 600.0
    tenants: tuple[str, ...] = ("*",)
    keep: str = "changes"


class AwxClient:
    """One conversation. `deadline` is in `time.monotonic()` seconds. Methods raise `RetryLater` and `Permanent`."""

    def __init__(self, settings: AwxSettings, deadline: float) -> None:
        self.settings, self.deadline = settings, deadline
        self._root = urlsplit(settings.url)
        self._token = self._read_token()
        self._trust = self._context()

    def get(self, path: str, **query: object) -> Found:
        """A thing, or one page of them. `path` is below `/api/v2/`."""
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Found) -> Found:
        """Make or do something. After `RetryLater` it may have been done all the same: look before it is sent again."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Found) -> Found:
        """Change something."""
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Take something away; it is fine if it is gone."""
        try:
            self._call("DELETE", path)
        except Permanent as error:
            if error.code != "awx-missing":
                raise

    def every(self, path: str, **query: object) -> Iterator[Found]:
        """All things of a list, page by page. The next page is asked for by number: a link could name another host."""
        for page in range(1, MOST_PAGES):
            found = self.get(path, **query, page_size=PAGE, page=page)
            yield from found.get("results") or ()
            if not found.get("next"):
                return
        raise self.permanent(f"has more than {MOST_PAGES} pages of {path}", "look at what fills it", "awx-answer")

    def named(self, path: str, name: str, **query: object) -> Found | None:
        """The thing of this name, if there is one."""
        return next(iter(self.get(path, name=name, **query).get("results") or ()), None)

    def needed(self, path: str, name: str, **query: object) -> Found:
        """The thing of this name; raises `Permanent` if there is none, or the token may not see it."""
        found = self.named(path, name, **query)
        if found is None:
            what = path.strip("/").replace("_", " ").removesuffix("s")
            raise self.permanent(
                f"has no {what} {name!r} that the token may use", "correct the name in the settings, or make it there", "awx-missing"
            )
        return found

    def permanent(self, what: str, hint: str, code: str = "awx-refused") -> Permanent:
        """An error of this AWX."""
        return Permanent(f"AWX at {self.settings.url} {what}", hint=hint, code=code)

    def later(self, what: str, hint: str, after_s: float = 10.0) -> RetryLater:
        """Likewise, for what may go away."""
        return RetryLater(f"AWX at {self.settings.url} {what}", after_s=after_s, hint=hint, code="awx-away")

    def _read_token(self) -> str:
        setting, settings = f"ansible.providers.{self.settings.name}", self.settings
        try:
            text = settings.token_file.read_text() if settings.token_file else os.environ.get(settings.token_env, "")
        except (OSError, UnicodeDecodeError) as error:
            raise self.permanent(
                f"cannot be asked: the token file cannot be read ({type(error).__name__})", f"check {setting}.token_file"
            ) from None
        token = text.strip()
        if not token or not token.isascii() or not token.isprintable():
            raise self.permanent("cannot be asked without a token", f"set {setting}.token_file or .token_env")
        return token

    def _context(self) -> "SSLContext | None":
        import ssl  # noqa: PLC0415 - slow to import, and most installations have no AWX

        where = self._root.hostname or ""
        if self._root.scheme == "http" and is_loopback(where):
            return None
        if self._root.scheme != "https" or not where:
            raise self.permanent("would be sent the token in the clear", "write https:// in its url", "awx-untrusted")
        try:
            return ssl.create_default_context(cafile=str(self.settings.ca_file) if self.settings.ca_file else None)
        except (OSError, ValueError):
            hint = f"check ansible.providers.{self.settings.name}.ca_file"
            raise self.permanent("cannot be verified: the file of authorities cannot be read", hint, "awx-untrusted") from None

    def _call(self, method: str, path: str, body: Found | None = None) -> Found:
        where = f"{self._root.path.rstrip('/')}/api/v2/{path}"
        left_s = min(CALL_S, self.deadline - time.monotonic())
        if left_s <= 0:
            raise self.later("was not done with in the time that there was", "it is tried again", 1.0)
        status, retry_after, raw = self._send(method, where, body, left_s)
        good = 200 <= status < 300
        try:
            found = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            found = None
        if good and isinstance(found, dict):
            return found
        if good:
            raise self.permanent("does not answer as AWX does", "check its url", "awx-answer")
        raise self._refused(f"{method} {where.partition('?')[0]}", status, retry_after, found)

    def _send(self, method: str, where: str, body: Found | None, left_s: float) -> tuple[int, str, bytes]:
        import ssl  # noqa: PLC0415 - slow to import, and most installations have no AWX
        from http.client import HTTPConnection, HTTPException, HTTPSConnection  # noqa: PLC0415 - see above

        host, port = self._root.hostname or "", self._root.port
        plain = self._trust is None
        connection = (
            HTTPConnection(host, port, timeout=left_s) if plain else HTTPSConnection(host, port, timeout=left_s, context=self._trust)
        )
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Content-Type": "application/json"}
        try:
            connection.request(method, where, None if body is None else json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            raw = answer.read(MOST_BYTES + 1)
            if len(raw) > MOST_BYTES:
                raise self.permanent(f"answers with more than {MOST_BYTES} bytes", "look at what it is", "awx-answer")
            return answer.status, answer.getheader("Retry-After", ""), raw
        except ssl.SSLCertVerificationError:
            hint = f"set ansible.providers.{self.settings.name}.ca_file"
            raise self.permanent("shows a certificate that is not trusted", hint, "awx-untrusted") from None
        except (HTTPException, OSError, ValueError) as error:
            raise self.later(f"cannot be reached ({type(error).__name__})", "check its url and the network") from None
        finally:
            connection.close()

    def _refused(self, what: str, status: int, retry_after: str, answer: Any) -> OctofleetError:
        setting = f"ansible.providers.{self.settings.name}"
        if status == HTTPStatus.UNAUTHORIZED:
            return self.permanent("does not know the token", f"renew the token of {setting}", "awx-token")
        if status == HTTPStatus.FORBIDDEN:
            hint = "give the token's user the rights that docs/awx.md names"
            return self.permanent(f"forbids {what}{self._words(answer)}", hint, "awx-forbidden")
        if 300 <= status < 400:
            return self.permanent(f"sends {what} elsewhere, which is not followed", f"correct {setting}.url")
        said = f"answers {what} with {status}{self._words(answer)}"
        if status in BUSY:
            return self.later(said, "it is tried again", min(float(retry_after), 300.0) if retry_after.isdecimal() else 10.0)
        return self.permanent(said, "see docs/awx.md", "awx-missing" if status == HTTPStatus.NOT_FOUND else "awx-refused")

    def _words(self, answer: Any) -> str:
        """What AWX says of an error: one line, without the token. Secrets that it may repeat are taken out by what wraps the driver."""
        text = json.dumps(answer, ensure_ascii=False) if answer else ""
        line = "".join(mark if mark.isprintable() else " " for mark in text).replace(self._token, "***")
        return f": {line[:MOST_WORDS]}" if line else ""
