"""`octofleet token`."""

import json
from typing import Any

import click

from reconciler import accounts
from reconciler.cli.options import Duration, Listing, common
from reconciler.cli.permission import ask, breakable
from reconciler.identity.access import NEEDS, Action
from reconciler.identity.local import me
from reconciler.permitting import access_in_force, to_make_token
from reconciler.report.text import printable
from reconciler.store.tokens import Token, load_token, tokens
from reconciler.types.duration import utc
from reconciler.wiring import Installation

ALLOWABLE = [action.value for action in Action if NEEDS[action].role is not None]
LONGEST_S = 366 * 86_400.0


class Actions(click.ParamType):  # type: ignore[type-arg]
    """Actions with commas between them."""

    name = "actions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Action]:
        """Fails with a usage error."""
        if isinstance(value, frozenset):
            return value
        names = {name.strip() for name in str(value).split(",")}
        if wrong := sorted(names - set(ALLOWABLE)):
            self.fail(f"{wrong[0]!r} is no action that a token may do; choose among {', '.join(ALLOWABLE)}", param, ctx)
        return frozenset(map(Action, names))


@click.group(cls=Listing)
def token() -> None:
    """Tokens for programs that use the API. Without a further word: list."""


@token.command(name="list")
@common
def list_(installation: Installation, as_json: bool) -> int:
    """List the tokens, newest first; never their secrets."""
    with installation.store.read() as connection:
        found, now = tokens(connection), connection.now()
    if as_json:
        click.echo(json.dumps({"tokens": [_document(item, now) for item in found]}, indent=2, ensure_ascii=False))
        return 0
    for item in found:
        last = f"last used {utc(item.last_used_at)}" if item.last_used_at else "never used"
        words = f"{item.state(now)} until {utc(item.expires_at)}" if item.state(now) == "live" else item.state(now)
        click.echo(
            printable(f"{item.id}  {item.label}  {item.identity}  {', '.join(item.actions)}  {words}, {last}, made by {item.made_by}")
        )
    if not found:
        click.echo("there is no token; octofleet token create LABEL makes one")
    return 0


def _document(item: Token, now: float) -> dict[str, Any]:
    return {
        "id": item.id,
        "label": item.label,
        "identity": item.identity,
        "actions": list(item.actions),
        "state": item.state(now),
        "madeBy": item.made_by,
        "madeAt": item.made_at,
        "expiresAt": item.expires_at,
        "lastUsedAt": item.last_used_at,
        "revokedAt": item.revoked_at,
    }


@token.command()
@click.argument("label")
@click.option("--as", "identity", metavar="IDENTITY", help="Who it acts as: token:NAME or account:NAME.  [default: token:LABEL]")
@click.option("--allow", type=Actions(), default="view,plan", show_default=True, help="What it is good for at most: actions, with commas.")
@click.option("--expires", type=Duration(), default="90d", show_default=True, help="How long it is good: 12h, 90d; at most 366d.")
@breakable
@common
def create(
    installation: Installation, as_json: bool, label: str, identity: str | None, allow: frozenset[Action], expires: float, break_glass: str
) -> int:
    """Make a token and print it, once. It may do what --allow says, as far as RoleMappings allow that to whom it acts as."""
    if not label.strip() or not label.isprintable() or len(label) > accounts.MOST_OF_A_NAME:
        raise click.UsageError(f"LABEL says what the token is for: one line of text, at most {accounts.MOST_OF_A_NAME} long")
    if expires > LONGEST_S:
        raise click.UsageError("--expires is at most 366d: a token that leaks should end some day")
    acts_as = identity or f"token:{label}"
    if not acts_as.startswith("account:") and not accounts.TOKEN_NAME.fullmatch(acts_as):
        raise click.UsageError(
            f"a token cannot act as {acts_as!r}: say --as token:NAME, in letters, digits and . _ @ + -, or --as account:NAME"
        )
    _ask(installation, acts_as, break_glass)
    made, text = accounts.create_token(installation, label, identity=acts_as, actions=allow, expires_s=expires, by=me())
    if as_json:
        click.echo(json.dumps(_document(made, made.made_at) | {"token": text}, indent=2, ensure_ascii=False))
    else:
        click.echo(text)
        click.echo(f"  it acts as {made.identity} until {utc(made.expires_at)}, for {', '.join(made.actions)}", err=True)
        if made.identity.startswith("token:"):
            click.echo(f"  it may do nothing until a RoleMapping in force binds {made.identity}", err=True)
        click.echo(f"  next: keep it now, it is not shown again; octofleet token revoke {made.id} ends it", err=True)
    return 0


@token.command()
@click.argument("token_id", metavar="ID")
@breakable
@common
def revoke(installation: Installation, as_json: bool, token_id: str, break_glass: str) -> int:
    """End a token for good, at once."""
    with installation.store.read() as connection:
        found = load_token(connection, token_id)
    _ask(installation, found.identity if found else "", break_glass)
    ended = accounts.revoke_token(installation, token_id, by=me())
    if as_json:
        click.echo(json.dumps(_document(ended, ended.made_at), indent=2, ensure_ascii=False))
    else:
        click.echo(printable(f"{ended.id} ({ended.label}) is revoked"))
    return 0


def _ask(installation: Installation, identity: str, break_glass: str) -> None:
    with installation.store.read() as connection:
        access = access_in_force(connection)
    ask(installation, "", to_make_token(access, me(), identity), break_glass)
