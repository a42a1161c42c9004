"""Sending one message to one receiver through apprise, in a process of its own: it may hang, and what it logs may hold the URL.

In: the URL, which is a secret, and texts. Out: nothing, or an error that names scheme and host and no more. The process gets the URL on its standard
input, and is killed when it takes too long. apprise is an extra, and imported by that process alone.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from reconciler.errors import Permanent, RetryLater

TIMEOUT_S = 30.0
SERVICES: Mapping[str, bool] = {
    "slack": False,
    "workflow": True,
    "workflows": True,
    "pagerduty": False,
    "mailto": True,
    "mailtos": True,
    "json": True,
    "jsons": True,
}
"""The schemes that are sent to, each with whether what follows is a host, and not a token. Of each a test knows how it writes text that came from elsewhere."""
OWN = frozenset({"template", "pgp", "pgppub", "pgpprv", "wkd", "inline", "dedup", "action", "store", "retry", "wait"})
"""Parameters that no URL may have: they read files of this machine, keep some, or are Octofleet's to say."""
KEPT = frozenset({"PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})
"""Variables of the environment that the process gets, besides those about proxies."""
INCIDENTS = frozenset({"pagerduty"})
MOST_OF_INCIDENT = 1024
"""How long the summary of an incident may be at PagerDuty; apprise does not cut it."""
TITLE_IN_BODY = frozenset({"workflow", "workflows"})
"""Where apprise writes a title as markup."""
_PROGRAM = "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); from reconciler.sending import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What is sent. `type`: `failure`, `warning`, `success` or `info`. `incident`: the key of the incident that it is about, or empty; `ends` whether
    it ends that."""

    title: str
    body: str
    type: str
    incident: str = ""
    ends: bool = False


def scheme_of(url: str) -> str:
    """The scheme of a URL, in lower case."""
    return url.partition("://")[0].strip().lower()


def place_of(url: str) -> str:
    """A URL as it may be shown: its scheme, and its host where that is no secret."""
    scheme = scheme_of(url)
    if scheme not in SERVICES:
        return "a URL of an unknown scheme"
    try:
        parts = urlsplit(url.strip())
        host = f"{parts.hostname}{f':{parts.port}' if parts.port else ''}" if SERVICES[scheme] and parts.hostname else "..."
    except ValueError:
        host = "..."
    return f"{scheme}://{host}"


def check_url(url: str) -> None:
    """Raises `Permanent` for a URL that is not sent to."""
    if scheme_of(url) not in SERVICES:
        raise Permanent("a URL of an AlertChannel has a scheme that is not sent to", hint=f"use {', '.join(SERVICES)}", code="alert-url")
    names = {name.lower().lstrip("+-:") for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)}
    if refused := sorted(names & OWN):
        raise Permanent(
            f"the URL {place_of(url)} has the parameter {refused[0]}, which is not allowed", hint="leave it out", code="alert-url"
        )


def check(url: str) -> None:
    """Raises `OctofleetError` for a URL that apprise does not understand, and if it is not installed. Nothing is sent."""
    send(url, ())


def send(url: str, texts: Sequence[Text], timeout_s: float = TIMEOUT_S) -> None:
    """Send texts, one after the other. Raises `RetryLater` for one that did not arrive, or may not have; then the rest was not sent."""
    check_url(url)
    place = place_of(url)
    environment = {name: value for name, value in os.environ.items() if name in KEPT or name.lower().endswith("_proxy")}
    command = [sys.executable, "-I", "-c", _PROGRAM, json.dumps([path for path in sys.path if path])]
    request = json.dumps({"url": url.strip(), "texts": [asdict(text) for text in texts]})
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            command, input=request, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise RetryLater(f"{place} did not take a message within {timeout_s:g} s", code="alert-failed") from None
    lines = done.stdout.splitlines()
    answer = json.loads(lines[-1]) if lines else {"error": "failed", "words": f"the sender ended with {done.returncode}"}
    match answer.get("error"):
        case None:
            return
        case "missing":
            raise Permanent("alerts need apprise, which is not installed", hint="pip install 'octofleet[alerts]'", code="extra-missing")
        case "url":
            hint = "docs/alerts.md shows how the URL of each service is written"
            raise Permanent(f"apprise does not understand the URL {place}", hint=hint, code="alert-url")
        case _:
            raise RetryLater(f"{place} did not take a message: {answer['words']}", code="alert-failed")


def main() -> None:
    """The process: one request on standard input, one answer on standard output."""
    request = json.load(sys.stdin)
    try:
        import apprise  # noqa: PLC0415 - an optional extra
    except ImportError:
        answer: dict[str, str] = {"error": "missing"}
    else:
        answer = _sent(apprise, request["url"], request["texts"])
    print(json.dumps(answer))  # noqa: T201 - what the process is for


def _sent(apprise: Any, url: str, texts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    import logging  # noqa: PLC0415 - this process alone listens to apprise

    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    apprise.logger.addHandler(handler)
    apprise.logger.propagate = False
    asset = apprise.AppriseAsset(app_id="Octofleet", app_desc="Octofleet", http_redirects=False, async_mode=False, image_url_mask="")
    receiver = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if receiver is None:
        return {"error": "url"}
    for text in texts:
        title, body = text["title"], text["body"]
        if scheme_of(url) in TITLE_IN_BODY:
            title, body = "", f"{title}\n\n{body}"
        if text["incident"]:
            title, body = "", f"{title}\n{body}"[:MOST_OF_INCIDENT]
        if text["incident"]:
            receiver.dedup, receiver.action = text["incident"], "resolve" if text["ends"] else "trigger"
        try:
            arrived = receiver.notify(
                title=title, body=body, notify_type=apprise.NotifyType(text["type"]), body_format=apprise.NotifyFormat.TEXT
            )
        except Exception as error:  # noqa: BLE001 - a plugin's trouble is that of this message
            return {"error": "failed", "words": type(error).__name__}
        if not arrived:
            return {"error": "failed", "words": _words(heard)}
    return {}


def _words(heard: Sequence[str]) -> str:
    """Why it did not arrive, of what apprise logged only what cannot hold a secret."""
    said = " ".join(heard)
    code = re.search(r"error=(\d{3})\b", said)
    if code:
        return f"it answered {code[1]}"
    return "it could not be reached, or broke the connection off" if re.search("onnection|socket", said, re.I) else "it was refused"
