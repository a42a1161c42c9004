"""HTTP to one Redfish service (DMTF DSP0266): JSON in and out, bounded in time and size, verified, each failure as the error that it is.

Our own on aiohttp, for sushy sends a request again by itself when its answer is lost, a reset too, and has no limit on a call in all; see decision 0004.
No message holds the password. No proxy and no redirect is followed, and no link to another host: they would be given the password.
"""

import base64
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.power.bmc import Bmc

ROOT = "/redfish/v1/"
SESSIONS = "/redfish/v1/SessionService/Sessions"
CALL_S = 30.0
"""The longest that one request may take, reading the answer included."""
MOST_BYTES = 1 << 20
MOST_WORDS = 200
CHANGED = "bmc-changed"
"""The code of what was refused for an ETag that is old, or is not understood."""
BUSY = frozenset({408, 409, 423, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A resource, its ETag as the header or the resource has it ("" without one), and the service's clock as Unix time in seconds."""

    body: Mapping[str, Any]
    etag: str = ""
    date: float | None = None


class Client:
    """One conversation, as a context. `deadline` is in `time.monotonic()` seconds. Basic authentication, or a session where the service has no Basic."""

    def __init__(self, bmc: Bmc, deadline: float) -> None:
        self.bmc, self.deadline = bmc, deadline
        self._password = bmc.password.reveal()
        self._basic = base64.b64encode(f"{bmc.username}:{self._password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {self._basic}"}
        self._session = ""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._trust(), force_close=True)
        self._http = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._session:
                await self._call("DELETE", self._session)
        except OctofleetError:
            pass  # the service ends it by itself
        finally:
            await self._http.close()

    async def get(self, path: str) -> Answer:
        """A resource."""
        return await self._call("GET", path)

    async def patch(self, path: str, body: Mapping[str, Any], etag: str) -> Answer:
        """Change a resource that is still as the ETag says; raises `RetryLater` if it is not."""
        return await self._call("PATCH", path, body, {"If-Match": etag} if etag else {})

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Call an action. After `RetryLater` it may have been taken all the same: look before it is sent again."""
        return await self._call("POST", path, body)

    def permanent(self, what: str, hint: str, code: str = "bmc-refused") -> Permanent:
        """An error of this BMC."""
        return Permanent(f"the BMC {self.bmc.url} {what}", hint=hint, code=code)

    def later(self, what: str, hint: str, after_s: float = 10.0, code: str = "bmc-busy") -> RetryLater:
        """Likewise, for what may go away."""
        return RetryLater(f"the BMC {self.bmc.url} {what}", after_s=after_s, hint=hint, code=code)

    def link(self, found: object) -> str:
        """The path that a resource names, if it is one of this service."""
        path = found.get("@odata.id") if isinstance(found, Mapping) else found
        if not isinstance(path, str) or not path.startswith("/redfish/") or not path.isprintable():
            raise self.permanent("names no resource of its own where one must be", "update its firmware", "bmc-answer")
        return path

    def _trust(self) -> ssl.SSLContext | aiohttp.Fingerprint:
        if urlsplit(self.bmc.url).scheme != "https":
            raise self.permanent("would be sent the password in the clear", "write https://", "bmc-untrusted")
        try:
            if self.bmc.fingerprint:
                return aiohttp.Fingerprint(bytes.fromhex(self.bmc.fingerprint.replace(":", "")))
            context = ssl.create_default_context()
            if self.bmc.ca_file is not None:
                context.load_verify_locations(cafile=self.bmc.ca_file)
            return context
        except (OSError, ValueError):
            what = "cannot be verified: its fingerprint is no SHA-256, or the file of authorities cannot be read"
            raise self.permanent(what, "correct the fingerprint or the file of authorities", "bmc-untrusted") from None

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        status, said, raw = await self._send(method, path, body, {**self._headers, **(headers or {})})
        if (
            status == HTTPStatus.UNAUTHORIZED
            and "Authorization" in self._headers
            and "basic" not in said.get("WWW-Authenticate", "").lower()
        ):
            await self._log_in()
            status, said, raw = await self._send(method, path, body, {**self._headers, **(headers or {})})
        answer = self._parsed(raw, good=200 <= status < 300)
        if not 200 <= status < 300:
            raise self._refused(method, path, status, said.get("Retry-After", ""), answer)
        return Answer(body=answer, etag=said.get("ETag", "") or str(answer.get("@odata.etag", "")), date=_seconds(said.get("Date", "")))

    async def _log_in(self) -> None:
        """A session of DSP0266, section 13.3.4, ended with the conversation."""
        body = {"UserName": self.bmc.username, "Password": self._password}
        status, said, raw = await self._send("POST", SESSIONS, body, {})
        if not 200 <= status < 300 or "X-Auth-Token" not in said:
            raise self._refused("POST", SESSIONS, HTTPStatus.UNAUTHORIZED if 400 <= status < 405 else status, "", self._parsed(raw))
        self._headers = {"X-Auth-Token": said["X-Auth-Token"]}
        self._session = self.link(urlsplit(said["Location"]).path) if "Location" in said else ""

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        left_s = min(CALL_S, self.deadline - time.monotonic())
        if left_s <= 0:
            raise self.later("was not done with in the time that there was", "it is tried again", after_s=1.0)
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", "OData-Version": "4.0", "User-Agent": "octofleet", **headers}
        try:
            async with self._http.request(
                method,
                self.bmc.url.rstrip("/") + path,
                json=body,
                headers=sent,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=left_s),
            ) as answer:
                raw = bytearray()
                async for piece in answer.content.iter_any():
                    raw += piece
                    if len(raw) > MOST_BYTES:
                        raise self.permanent(f"answers {path} with more than {MOST_BYTES} bytes", "look at what it is", "bmc-answer")
                return answer.status, answer.headers, bytes(raw)
        except aiohttp.ServerFingerprintMismatch:
            what = "shows a certificate of another fingerprint"
            hint = "if its certificate was renewed, correct `bmc.fingerprint`; else find out who answers there"
            raise self.permanent(what, hint, "bmc-untrusted") from None
        except aiohttp.ClientConnectorCertificateError:
            what = "shows a certificate that is not trusted"
            hint = "give its SHA-256 as `bmc.fingerprint`, or trust its authority"
            raise self.permanent(what, hint, "bmc-untrusted") from None
        except TimeoutError:
            raise self.later(
                f"did not answer within {left_s:.0f} s", "look whether it is well; many need a reset once in a while"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.later(f"cannot be reached ({type(error).__name__})", "check `bmc.url` and the management network") from None

    def _parsed(self, raw: bytes, good: bool = False) -> Mapping[str, Any]:
        try:
            found = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        if good:
            raise self.permanent(
                "does not answer as Redfish does", "check `bmc.url`; Redfish may have to be switched on there", "bmc-answer"
            )
        return {}

    def _refused(self, method: str, path: str, status: int, retry_after: str, answer: Mapping[str, Any]) -> OctofleetError:
        match status:
            case HTTPStatus.UNAUTHORIZED:
                return self.permanent(
                    f"does not know the user {self.bmc.username} with this password", "correct the secret", "bmc-credentials"
                )
            case HTTPStatus.FORBIDDEN:
                hint = "give the account the role Operator there"
                return self.permanent(f"does not let the user {self.bmc.username} do {method} {path}", hint, "bmc-credentials")
            case HTTPStatus.PRECONDITION_FAILED:
                return self.later(f"says that {path} has changed since it was read", "it is tried again", 1.0, CHANGED)
        what = f"answers {method} {path} with {status}{self._words(answer)}"
        if status in BUSY:
            return self.later(what, "it is tried again", after_s=min(float(retry_after), 300.0) if retry_after.isdecimal() else 10.0)
        return self.permanent(what, "check `bmc.url` and the BMC's firmware")

    def _words(self, answer: Mapping[str, Any]) -> str:
        """What the BMC says about an error: one line, without what it may repeat of ours."""
        error = answer.get("error")
        more = error.get("@Message.ExtendedInfo") if isinstance(error, dict) else None
        first = more[0] if isinstance(more, list) and more and isinstance(more[0], dict) else {}
        text = first.get("Message") or (error.get("message") if isinstance(error, dict) else "")
        line = "".join(mark if mark.isprintable() else " " for mark in str(text or ""))
        for hidden in filter(None, (self._password, self._basic)):
            line = line.replace(hidden, "***")
        return f": {line[:MOST_WORDS]}" if line else ""


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
