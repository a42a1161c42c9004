"""Documents as pages: Jinja2 templates beside this file, everything escaped, nothing of a template made up of what users say."""

import json
import time
from datetime import UTC, datetime
from functools import cache
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from reconciler.identity.caller import Caller
from reconciler.reading.call import Call
from reconciler.reading.next_step import parted
from reconciler.report.as_html import FILTERS, TEMPLATES
from reconciler.report.text import printable
from reconciler.report.view import duration, shown
from reconciler.wiring import VERSION

SECTIONS = (
    ("/", "Overview"),
    ("/hosts", "Hosts"),
    ("/installs", "Installations"),
    ("/operations", "Operations"),
    ("/drift", "Drift"),
    ("/facts", "Facts"),
    ("/plans", "Plans"),
    ("/runs", "Runs"),
    ("/pulls", "Pull requests"),
    ("/gates", "Gates"),
    ("/providers", "Providers"),
    ("/audit", "Audit"),
)
"""Where one may go from every page, by path."""
MORE = (
    ("/status", "Status"),
    ("/alerts", "Alerts"),
    ("/tasks", "Tasks of playbooks"),
    ("/workers", "Workers"),
    ("/access", "Who may do what"),
    ("/explain", "Where values come from"),
    ("/api/v1/openapi.json", "The API"),
)
"""The same, at the end of a page."""


def page(template: str, call: Call | Caller | None, document: object, *, said: str = "", here: str = "", again: str = "") -> bytes:
    """A whole page of a document, for whoever asks; `said`: what came of the form that was sent before; `here` is the path of its route, `again` the page's own
    address on its first part, whose query is `typed`."""
    caller = call.caller if isinstance(call, Call) else call
    text = (
        environment()
        .get_template(template)
        .render(
            doc=document,
            call=call if isinstance(call, Call) else None,
            caller=caller,
            now=time.time(),
            said=said,
            here=here,
            again=again,
            typed=dict(parse_qsl(urlsplit(again).query)),
            version=VERSION,
        )
    )
    return text.encode(errors="replace")


@cache
def environment() -> Environment:
    """Of all templates of the server."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("reconciler.server"), TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS | {"ago": ago, "iso": iso, "pretty": pretty, "value": value, "query": query, "parted": parted}
    made.globals |= {"SECTIONS": SECTIONS, "MORE": MORE}
    return made


def value(found: object) -> str:
    """A value of a document on one line."""
    return shown(found, 200)


def query(asked: msgspec.Struct) -> str:
    """What was asked, as the query of a link, without the cursor."""
    return urlencode({name: text for name, text in msgspec.to_builtins(asked).items() if text and name != "cursor"})


def ago(at: float | None, now: float) -> str:
    """How long ago, in words."""
    return "never" if at is None else f"{duration(now - at)} ago" if at <= now else f"in {duration(at - now)}"


def pretty(document: object) -> str:
    """A document as indented JSON."""
    return "\n".join(map(printable, json.dumps(document, indent=2, ensure_ascii=False).splitlines()))


def iso(at: float) -> str:
    """A time as HTML's `datetime` has it (RFC 3339)."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
