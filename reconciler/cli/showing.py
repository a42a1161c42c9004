"""How commands show a plan."""

import json
from pathlib import Path

import click

from reconciler.cli.options import show
from reconciler.errors import OctofleetError
from reconciler.files import replace_file
from reconciler.report.as_json import plan_document
from reconciler.report.markdown import plan_markdown
from reconciler.report.text import plan_lines
from reconciler.report.view import View

FORMATS = (".html", ".json", ".md", ".txt")


def print_plan(view: View, *, as_json: bool, out: Path | None) -> None:
    """To the terminal as text or JSON, and to a file in the format that its name asks for."""
    if out is not None:
        replace_file(out, _formatted(view, out.suffix))
    if as_json:
        click.echo(json.dumps(plan_document(view), indent=2, ensure_ascii=False))
    else:
        show(plan_lines(view))


def check_format(out: Path) -> None:
    """Raises `OctofleetError` for a file name that asks for no known format, before any work is done."""
    if out.suffix not in FORMATS:
        raise OctofleetError(
            f"there is no plan format {out.suffix or 'without a suffix'}", hint=f"name the file {', '.join(FORMATS)}", code="usage"
        )


def _formatted(view: View, suffix: str) -> bytes:
    match suffix:
        case ".html":
            from reconciler.report.as_html import plan_html  # noqa: PLC0415 - Jinja2 takes long to import

            return plan_html(view)
        case ".json":
            return (json.dumps(plan_document(view), indent=2, ensure_ascii=False) + "\n").encode()
        case ".md":
            return plan_markdown(view).encode()
        case _:
            return "".join(f"{line.text}\n" for line in plan_lines(view)).encode()
