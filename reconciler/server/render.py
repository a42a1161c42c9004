"""Documents as pages: Jinja2 templates beside this file, everything escaped, nothing of a template made up of what users say."""

import time
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from reconciler.identity.caller import Caller
from reconciler.reading.call import Call
from reconciler.report.view import counted, duration
from reconciler.wiring import VERSION

SAID: dict[str, str] = {}
"""What a page says after the form of a route, by its name: filled by `site`."""


SECTIONS = (
    ("/", "Overview"),
    ("/hosts", "Hosts"),
    ("/drift", "Drift"),
    ("/plans", "Plans"),
    ("/runs", "Runs"),
    ("/pulls", "Pull requests"),
    ("/gates", "Gates"),
    ("/providers", "Providers"),
    ("/audit", "Audit"),
)
"""Where one may go from every page, by path."""


def page(template: str, call: Call | Caller | None, document: object, *, said: str = "", here: str = "") -> bytes:
    """A whole page of a document, for whoever asks; `said` names the form that was sent before, `here` is the path of its route."""
    caller = call.caller if isinstance(call, Call) else call
    text = (
        environment()
        .get_template(template)
        .render(
            doc=document,
            call=call if isinstance(call, Call) else None,
            caller=caller,
            now=time.time(),
            said=SAID.get(said, ""),
            here=here,
            version=VERSION,
        )
    )
    return text.encode(errors="replace")


@cache
def environment() -> Environment:
    """Of all templates of the server."""
    made = Environment(
        loader=PackageLoader("reconciler.server"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"ago": ago, "stamp": stamp, "iso": iso, "counted": counted, "duration": duration, "short": lambda text: str(text)[:12]}
    made.globals["SECTIONS"] = SECTIONS
    return made


def ago(at: float | None, now: float) -> str:
    """How long ago, in words."""
    return "never" if at is None else f"{duration(now - at)} ago" if at <= now else f"in {duration(at - now)}"


def stamp(at: float | None) -> str:
    """A time as pages show it, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: float) -> str:
    """A time as HTML's `datetime` has it (RFC 3339)."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
