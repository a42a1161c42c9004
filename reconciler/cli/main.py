"""The entry point: finds the command that was asked for, imports only that one, and turns every error into words and an exit code.

Exit codes: 0 nothing to do or converged; 2 changes or drift; 3 incomplete (deferred, waiting or gated); 1 any error. With `--json` an error is a JSON
document on stdout. A traceback is shown only with `--debug`.
"""

import gc
import json
import sys
from errno import ENOSPC
from importlib import import_module
from typing import Any

import click

from reconciler.errors import InputError, OctofleetError, Refused

VERSION = "0.1.0"
GATES = frozenset({"guard", "approval"})

COMMANDS = {
    "init": ("init", "Make a small, valid repository to start from."),
    "validate": ("validate", "Check every manifest, template and boot file of a commit."),
    "plan": ("plan", "Show what would change, and why."),
    "apply": ("apply", "Apply a stored plan; without an id: plan, store, apply."),
    "run": ("operations", "Run a playbook, or an Operation, on hosts once."),
    "operations": ("operations", "When operations are due, and how they went."),
    "drift": ("drift", "Look at everything again and show what was changed by hand."),
    "status": ("status", "How the fleet stands; --why: what waits, and for what."),
    "facts": ("facts", "What hosts said of themselves, and how that changed."),
    "runs": ("runs", "List runs, newest first."),
    "logs": ("runs", "Show what a run did."),
    "tasks": ("tasks", "What tasks of playbooks did on hosts."),
    "pause": ("runs", "Begin nothing more of a run, or in a part of the fleet."),
    "resume": ("apply", "Take a paused or interrupted run to its end."),
    "cancel": ("runs", "Begin nothing more of a run, and end it."),
    "approve": ("gates", "Say yes to the changes of a plan."),
    "reject": ("gates", "Say no to the changes of a plan."),
    "promote": ("gates", "Have a rollout go on that waits for a person."),
    "rollback": ("gates", "Propose a branch that takes back what a run has applied."),
    "gates": ("gates", "What keeps changes from beginning: windows, freezes, pauses."),
    "override": ("gates", "Have a maintenance window not count for a while."),
    "access": ("access", "Who may do what, and which line of which file says so."),
    "account": ("account", "Who signs in to the server with a password."),
    "token": ("token", "Tokens for programs that use the API."),
    "explain": ("explain", "Which file and line set a value of a host."),
    "vault": ("vault", "Encrypt values for manifests, and re-key them."),
    "render": ("render", "Render a host's boot files."),
    "inventory": ("inventory", "The fleet as an inventory for Ansible."),
    "forget": ("forget", "Drop the record of a resource and leave the world alone."),
    "installs": ("installs", "Which machines are being installed, and how it goes."),
    "adopt": ("installs", "Say that a machine has its generation already."),
    "serve": ("serve", "Follow repositories: plan, apply, heal, until told to stop."),
    "worker": ("serve", "Work on runs that others begin, until told to stop."),
    "reconcile": ("serve", "Have the server look at repositories now."),
    "alerts": ("alerts", "What people are told of; `test` tells them something."),
    "audit": ("audit", "Who said and did what, and whether that was tampered with."),
    "prune": ("prune", "Let go of old runs, plans and logs."),
    "backup": ("backup", "Write everything that is known into one file."),
    "restore": ("backup", "Fill an empty database from such a file."),
    "doctor": ("doctor", "Check this installation and say how to fix what fails."),
    "demo": ("demo", "The example fleet, end to end, on this machine."),
}

REMOTE = frozenset(
    {
        "plan",
        "apply",
        "status",
        "facts",
        "runs",
        "logs",
        "tasks",
        "approve",
        "reject",
        "pause",
        "resume",
        "cancel",
        "installs",
        "adopt",
        "inventory",
    }
)
"""Commands that a server can be asked for."""


class Commands(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        if ctx.params.get("server"):
            from reconciler.cli import remote  # noqa: PLC0415 - only with --server

            if cmd_name not in REMOTE:
                raise remote.here_only(cmd_name)
            found: click.Command = getattr(remote, cmd_name)
            return found
        module = import_module(f"reconciler.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name as a hint."""
        from difflib import get_close_matches  # noqa: PLC0415 - only on a mistake

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {close[0]}?" if close else "; octofleet --help lists them"))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="octofleet")
@click.option("--server", metavar="URL", envvar="OCTOFLEET_SERVER", help="Ask this server, as OCTOFLEET_TOKEN.")
def cli(server: str | None) -> None:
    """Bring a fleet of machines to what a Git repository says: plan, review, apply.

    A new repository: octofleet init DIR. Every command has --help.
    """
    del server  # `Commands` minds it


def main(args: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run the command; gives the exit code."""
    as_json, debug = "--json" in args, "--debug" in args
    gc.set_threshold(100_000, 50, 100)  # a plan makes many small values and few circles
    try:
        _check_text(args)
        code = cli.main(args=args, prog_name="octofleet", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return 1 if end.exit_code == 2 else end.exit_code
    except click.Abort:
        return _failed(OctofleetError("interrupted", hint="the same command goes on where it stopped", code="interrupted"), as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 1
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "octofleet"
        return _failed(OctofleetError(error.format_message(), hint=f"{command} --help", code="usage"), as_json)
    except OctofleetError as error:
        if debug:
            raise
        return _failed(error, as_json)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno == ENOSPC:
            return _failed(
                OctofleetError("cannot write: no space is left", hint="free some, then run the same command again", code="disk"), as_json
            )
        text = f"internal error: {type(error).__name__}: {error}"
        return _failed(OctofleetError(text, hint="run the same command with --debug, and report what it prints", code="internal"), as_json)


def _check_text(args: list[str]) -> None:
    try:
        "".join(args).encode()
    except UnicodeEncodeError as error:
        raise OctofleetError("an argument is not UTF-8", hint="check the terminal's encoding", code="usage") from error


def _failed(error: OctofleetError, as_json: bool) -> int:
    if as_json and _printed(json.dumps(_document(error), indent=2)):
        pass
    elif isinstance(error, InputError):
        from reconciler.report.text import printable  # noqa: PLC0415 - only for this error

        for problem in error.problems:
            click.echo(printable(str(problem)), err=True)
        click.echo(
            click.style(f"error: {len(error.problems)} problem{'s' if len(error.problems) != 1 else ''} in the repository", fg="red"),
            err=True,
        )
    else:
        click.echo(click.style("error: ", fg="red") + _plain(error.message), err=True)
        if error.hint:
            click.echo(f"  next: {_plain(error.hint)}", err=True)
    return 3 if isinstance(error, Refused) and error.code in GATES else 1


def _printed(text: str) -> bool:
    """Whether stdout took it."""
    try:
        click.echo(text)
    except OSError:
        return False
    return True


def _plain(text: str) -> str:
    """Without what could move the cursor: an error may tell what somebody else has written."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _document(error: OctofleetError) -> dict[str, Any]:
    found: dict[str, Any] = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    if isinstance(error, InputError):
        from reconciler.report.as_json import problem_document  # noqa: PLC0415 - only for this error

        found["problems"] = [problem_document(problem) for problem in error.problems]
    return found
