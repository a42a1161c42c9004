"""The options that commands share, and the installation that they open."""

import functools
import os
import shutil
import signal
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from reconciler.errors import OctofleetError
from reconciler.index.file import Damaged
from reconciler.logs import choose
from reconciler.source.errors import strip_credentials
from reconciler.tracing import enable_if_asked
from reconciler.types.duration import seconds_of
from reconciler.types.problem import Problem, Severity
from reconciler.wiring import default_data_dir, open_installation

Command = Callable[..., Any]


def common(command: Command) -> Command:
    """`--data-dir`, `--config`, `--json`, `--debug`; the command gets `installation` and `as_json`."""

    @click.option("--data-dir", type=click.Path(path_type=Path), help="All state of this installation.  [env: OCTOFLEET_DATA_DIR]")
    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="OCTOFLEET_CONFIG",
        help="Settings; default: octofleet.toml in the data directory.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @functools.wraps(command)
    def wrapped(data_dir: Path | None, config: Path | None, as_json: bool, debug: bool, **given: Any) -> Any:
        choose(level="debug" if debug else "warning", form="console")
        if warning := enable_if_asked():
            click.echo(f"warning: {warning}", err=True)
        installation = open_installation(data_dir or default_data_dir(), config)
        choose(form=installation.settings.log)
        try:
            return command(installation=installation, as_json=as_json, **given)
        except Damaged as error:
            for index in installation.indexes.values():
                index.reset(str(error))
            raise OctofleetError("the index was damaged and is made anew", hint="run the same command again", code="index") from error
        finally:
            installation.close()

    return wrapped


def cancel_options(command: Command) -> Command:
    """`--stop` and `--give-up`: what becomes of what a run has begun."""
    give_up = click.option("--give-up", is_flag=True, help="Also give up what has begun, though nobody knows how it ends.")
    stop = click.option("--stop", is_flag=True, help="Also stop playbooks that run: their processes end, and jobs of AWX are cancelled.")
    return stop(give_up(command))


def cancelled_text(state: str, *, stop: bool) -> str:
    """What has become of a run that a person cancelled."""
    if state == "cancelled":
        return "is cancelled"
    going_on = "playbooks that run are stopped, and whatever else has begun" if stop else "what has begun"
    also = "" if stop else "--stop stops playbooks that run; "
    return f"is being cancelled: {going_on} is brought to its end; {also}where nobody can do that, --give-up ends it"


class Listing(click.Group):
    """A group whose first command is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names or not args[0].startswith("-"))
        return super().parse_args(ctx, args if named else ["list", *args])


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90s`, `30m`, `4h`, `7d`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails with a usage error."""
        try:
            return value if isinstance(value, float) else seconds_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


MOST_OF_A_REASON = 4000


class Reason(click.ParamType):  # type: ignore[type-arg]
    """Why: one line of text. What a URL in it has of passwords is left out."""

    name = "reason"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Fails with a usage error; for no text only where a reason is required."""
        text = strip_credentials(str(value)).strip()
        if len(text) > MOST_OF_A_REASON or any(unicodedata.category(char) == "Cc" for char in text):
            self.fail(f"it is one line of text without control characters, at most {MOST_OF_A_REASON} long", param, ctx)
        if not text and param is not None and param.required:
            self.fail("say why: it is recorded", param, ctx)
        return text


def reason_option(means: str = "Why; recorded.", *, required: bool = True) -> Callable[[Command], Command]:
    """`--reason`; without one that is required the command gets an empty text."""
    if required:
        return click.option("--reason", type=Reason(), required=True, help=means)
    return click.option("--reason", type=Reason(), default="", help=means)


def repository_options(command: Command) -> Command:
    """`--repo` and `--rev`."""
    command = click.option("--rev", help="Branch, tag or commit; default: the default branch.")(command)
    return click.option("--repo", default=".", show_default="the working directory", help="Path or URL of the repository.")(command)


STYLES: Mapping[str, Mapping[str, Any]] = {
    "title": {"bold": True},
    "good": {"fg": "green", "bold": True},
    "bad": {"fg": "red"},
    "warn": {"fg": "yellow"},
    "add": {"fg": "green"},
    "change": {"fg": "cyan"},
    "remove": {"fg": "red", "bold": True},
    "dim": {"dim": True},
    "plain": {},
}


def show(lines: Any) -> None:
    """Print styled lines; colours and line breaks only on a terminal."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line, style in lines:
        text = fitted(line, width)
        click.echo(click.style(text, **STYLES[style]) if style != "plain" else text)


def fitted(text: str, width: int) -> str:
    """A line broken between words where it is wider than the terminal; 0: never. What is to be copied stays whole: commands, and the content of files."""
    if not 0 < width < len(text) or "octofleet " in text or text.startswith(" " * 8):
        return text
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def problems_code(problems: tuple[Problem, ...]) -> int:
    """1 if a problem is an error."""
    return 1 if any(problem.severity is Severity.ERROR for problem in problems) else 0


QUIET_S = 1.0


class Progress:
    """A progress bar on a terminal, plain lines elsewhere; nothing for work that takes less than a second."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()

    def told(self, stage: str, done: int, total: int) -> None:
        """Some of a stage is done."""
        if self._quiet or total <= 1 or time.monotonic() - self._began < QUIET_S:
            return
        if not self._terminal:
            if stage != self._stage:
                click.echo(f"{stage}: {done} of {total}", err=True)
            self._stage = stage
            return
        if self._bar is None:
            from rich.console import Console  # noqa: PLC0415 - only where a bar is drawn
            from rich.progress import Progress as Bar  # noqa: PLC0415

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
        if stage != self._stage:
            self._stage, self._task = stage, self._bar.add_task(stage, total=total)
        self._bar.update(self._task, completed=done)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._stage = ""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Progress for a block."""
    shown = Progress(quiet=quiet)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While it is open, Ctrl-C and SIGTERM ask for an orderly stop; a second Ctrl-C stops at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            click.echo("stopped at once; the same command goes on where it stopped", err=True)
            os._exit(1)  # as if killed: nobody else may take up what a call of this process still does
        asked = True
        click.echo("stopping after the steps that have begun; once more to stop at once", err=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
