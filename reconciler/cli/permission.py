"""What each command does in the words of `identity.access`, and `--break-glass` for those that change something."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from reconciler.cli.options import Reason
from reconciler.identity.access import Action, Resource
from reconciler.identity.local import me
from reconciler.permitting import Asked, access_in_force, permit
from reconciler.wiring import Installation

ACTIONS: Mapping[str, Action] = {
    "init": Action.OPERATE_PROCESS,
    "validate": Action.VIEW,
    "plan": Action.PLAN,
    "apply": Action.APPLY,
    "run": Action.RUN,
    "operations": Action.VIEW,
    "drift": Action.APPLY,
    "status": Action.VIEW,
    "facts": Action.VIEW,
    "runs": Action.VIEW,
    "logs": Action.VIEW,
    "tasks": Action.VIEW,
    "pause": Action.PAUSE,
    "resume": Action.RESUME,
    "cancel": Action.CANCEL,
    "approve": Action.APPROVE,
    "reject": Action.REJECT,
    "promote": Action.PROMOTE,
    "rollback": Action.ROLLBACK,
    "gates": Action.VIEW,
    "override": Action.OVERRIDE_WINDOW,
    "alerts": Action.TEST_ALERTS,
    "audit": Action.VIEW,
    "access": Action.VIEW,
    "account": Action.MANAGE_USERS,
    "token": Action.MANAGE_TOKENS,
    "explain": Action.VIEW,
    "vault": Action.OPERATE_PROCESS,
    "render": Action.VIEW,
    "inventory": Action.VIEW,
    "forget": Action.FORGET,
    "installs": Action.INSTALL,
    "adopt": Action.ADOPT,
    "serve": Action.OPERATE_PROCESS,
    "worker": Action.OPERATE_PROCESS,
    "reconcile": Action.RECONCILE,
    "prune": Action.PRUNE,
    "backup": Action.BACKUP,
    "restore": Action.RESTORE,
    "doctor": Action.OPERATE_PROCESS,
    "demo": Action.OPERATE_PROCESS,
}
"""Of every command the action that it is, or can be at most. Those that only look do not ask: whoever can open the database can read it."""


def breakable(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--break-glass`; the command gets `break_glass`."""
    text = "Go on although your roles do not allow it; recorded."
    return click.option("--break-glass", type=Reason(), metavar="REASON", default="", help=text)(command)


def ask(installation: Installation, source: str, asked: Iterable[Asked], break_glass: str) -> None:
    """Return if the user who runs this process may do all that is asked of a source, or with an empty one of the installation. Raises `Refused`."""
    permit(installation, me(), source, asked, break_glass=break_glass)


def may(installation: Installation, action: Action, resource: Resource) -> bool:
    """Whether that user may do something."""
    with installation.store.read() as connection:
        return access_in_force(connection).decide(me(), action, resource).allowed
