"""A plan or a run as one HTML file: made of the same parts as the server's pages, with its style in it and nothing that needs a server."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reconciler.report.view import counted, duration

TEMPLATES = PackageLoader("reconciler.report")
"""The parts that pages and files have in common."""


def stamp(at: float | None) -> str:
    """A time as pages show it, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


FILTERS = {"stamp": stamp, "counted": counted, "duration": duration, "short": lambda text: str(text)[:12]}


@cache
def _environment() -> Environment:
    made = Environment(loader=TEMPLATES, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= FILTERS
    return made


def html(template: str, **parts: Any) -> bytes:
    """A whole file."""
    return _environment().get_template(template).render(**parts).encode(errors="replace")
