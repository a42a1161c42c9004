"""`octofleet account`."""

import json
from typing import Any

import click

from reconciler import accounts
from reconciler.cli import address
from reconciler.cli.options import Listing, common
from reconciler.cli.permission import ask, breakable
from reconciler.identity.access import Action, Resource
from reconciler.identity.local import me
from reconciler.report.text import printable
from reconciler.store.accounts import Account
from reconciler.store.accounts import accounts as every
from reconciler.types.duration import utc
from reconciler.wiring import Installation

MAKES = [(Action.MANAGE_USERS, Resource())]


@click.group(cls=Listing)
def account() -> None:
    """Who signs in to the server with a password. Without a further word: list."""


@account.command(name="list")
@common
def list_(installation: Installation, as_json: bool) -> int:
    """List the accounts."""
    with installation.store.read() as connection:
        found = every(connection)
    if as_json:
        click.echo(json.dumps({"accounts": [_document(item) for item in found]}, indent=2, ensure_ascii=False))
        return 0
    for item in found:
        state = "disabled" if item.disabled_at is not None else "waits for a new password" if not item.password else ""
        words = ", ".join(filter(None, ("owner" if item.owner else "", state)))
        click.echo(printable(f"account:{item.name}  {item.display}" + (f"  ({words})" if words else "")))
    if not found:
        click.echo("there is no account; octofleet account add NAME --owner makes a link for the first one")
    return 0


def _document(item: Account) -> dict[str, Any]:
    return {
        "name": item.name,
        "identity": f"account:{item.name}",
        "display": item.display,
        "owner": item.owner,
        "hasPassword": bool(item.password),
        "madeAt": item.made_at,
        "disabledAt": item.disabled_at,
    }


@account.command()
@click.argument("name")
@click.option("--owner", is_flag=True, help="May do everything while no RoleMapping is in force.")
@breakable
@common
def add(installation: Installation, as_json: bool, name: str, owner: bool, break_glass: str) -> int:
    """Print a one-time link with which somebody makes his account. What he may do is said by RoleMappings, as account:NAME."""
    ask(installation, "", MAKES, break_glass)
    return _linked(installation, accounts.invite(installation, name, owner, by=me()), as_json=as_json)


@account.command()
@click.argument("name")
@breakable
@common
def reset(installation: Installation, as_json: bool, name: str, break_glass: str) -> int:
    """Print a one-time link for a new password. The one before is void at once, and every session ends; tokens stay."""
    ask(installation, "", MAKES, break_glass)
    return _linked(installation, accounts.reset(installation, name, by=me()), as_json=as_json)


def _linked(installation: Installation, secret: str, *, as_json: bool) -> int:
    found = accounts.invited(installation, secret)
    if found is None:
        raise accounts.void()
    path, settings = accounts.LINK + secret, installation.settings
    place, remark = address.begins(settings, address.note(installation.data_dir) or address.said(settings))
    if as_json:
        said = {"name": found.account, "owner": found.owner, "reset": found.reset, "path": path, "url": place and place + path}
        click.echo(json.dumps(said | {"expiresAt": found.expires_at}, indent=2))
        return 0
    click.echo(place + path)
    if not place:
        remark = "put the server's address before it: no server runs here, and neither listen nor public_url of [[forges]] is set"
    click.echo(f"  next: send account:{found.account} this link, by a way that others cannot read", err=True)
    for line in filter(None, (remark, f"it works once, until {utc(found.expires_at)}")):
        click.echo(f"  {line}", err=True)
    return 0


@account.command()
@click.argument("name")
@breakable
@common
def disable(installation: Installation, as_json: bool, name: str, break_glass: str) -> int:
    """Let nobody sign in to an account. Its sessions end, and its tokens are good for nothing."""
    return _enabled(installation, name, False, break_glass, as_json=as_json)


@account.command()
@click.argument("name")
@breakable
@common
def enable(installation: Installation, as_json: bool, name: str, break_glass: str) -> int:
    """Let an account be signed in to again."""
    return _enabled(installation, name, True, break_glass, as_json=as_json)


def _enabled(installation: Installation, name: str, enabled: bool, break_glass: str, *, as_json: bool) -> int:
    ask(installation, "", MAKES, break_glass)
    found = accounts.set_enabled(installation, name, enabled, by=me())
    if as_json:
        click.echo(json.dumps(_document(found), indent=2, ensure_ascii=False))
    else:
        click.echo(f"account:{found.name} is {'enabled' if enabled else 'disabled, and signed out everywhere'}")
    return 0
