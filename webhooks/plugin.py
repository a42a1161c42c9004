"""What forges add to `octofleet serve`: a route for their deliveries, the queue of what they are told, and the work on pull requests."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from reconciler.errors import OctofleetError
from reconciler.plugins import Check, Part, Serves, hookimpl
from reconciler.settings import Forge as Rules

POSTING_S = 60.0
"""How long a call of a forge may take, which is all that the thread of the queues waits for."""
STORING_S = 30.0
PLANNING_S = 300.0
"""How long a plan of a pull request may take, engines included: a third of what makes it count as standing still."""


@hookimpl
def octofleet_serves(serves: Serves) -> Iterable[Part]:
    """Nothing without `[[forges]]`. Raises `OctofleetError` if a secret or a token cannot be read: no secret, no start."""
    rules = serves.installation.settings.forges
    if not rules:
        return ()
    for number, one in enumerate(rules):
        _check(serves.installation, number, one)
    return list(_parts(serves, rules))


def _parts(serves: Serves, rules: Iterable[Rules]) -> Iterator[Part]:
    from webhooks.forges import make_forge, secrets_of  # noqa: PLC0415 - slow to import, and not always asked for
    from webhooks.inbox import Gate, Inbox  # noqa: PLC0415
    from webhooks.posting import Poster  # noqa: PLC0415
    from webhooks.watched import watched  # noqa: PLC0415
    from webhooks.work import PullWork  # noqa: PLC0415

    store, accounts = serves.installation.store, dict[str, str]()
    forges = {one.name: watched(one, make_forge(one), serves.repositories, accounts) for one in rules}
    gates = {one.name: Gate(watched=forges[one.name], secrets=secrets_of(one)) for one in rules if one.secret_files or one.secrets_env}
    own = {one.name: make_forge(one) for one in rules}  # a client belongs to one event loop
    pulls = PullWork(serves.installation, serves.worker, own, serves.repositories)
    yield Part(name="pulls", work=pulls.work, moved_at=lambda: pulls.moved_at, pulse_s=PLANNING_S)
    poster = Poster(store, list(forges.values()), serves.worker, pulls.wake)
    pulls.tell = poster.wake
    yield Part(name="forges", work=poster.work, moved_at=lambda: poster.moved_at, pulse_s=POSTING_S)
    if gates:
        inbox = Inbox(store, gates, pulls.wake)
        route = ("POST", "/webhooks/{forge}", inbox.handle)
        yield Part(name="deliveries", routes=[route], work=inbox.work, moved_at=lambda: inbox.moved_at, pulse_s=STORING_S)


def _check(installation: Any, number: int, rules: Rules) -> None:
    from webhooks.forges import unreadable  # noqa: PLC0415

    for key, why in unreadable(rules):
        where = installation.said_at(("forges", number, key))
        raise OctofleetError(
            f"{where}: forges {number + 1}: {key}: {why}", hint="docs/pull-requests.md tells what a forge needs", code="settings"
        )
    if (rules.secret_files or rules.secrets_env) and not installation.settings.listen:
        where = installation.said_at(("forges", number))
        message = (
            f"{where}: forges {number + 1}: it has a secret for webhooks, and the setting listen names no address where they could arrive"
        )
        raise OctofleetError(message, hint='set listen = "HOST:PORT", or poll_s of the forge and no secret', code="settings")


@hookimpl
def octofleet_checks(installation: Any) -> Iterable[Check]:
    """For each forge whether it can be reached, takes the token, and how many calls it still takes."""
    return [Check(name=f"forge {one.name}", look=partial(_look, one)) for one in installation.settings.forges]


def _look(rules: Rules) -> str:
    """In a word how a forge takes us. Raises `OctofleetError`."""
    import asyncio  # noqa: PLC0415

    from webhooks.forge import Denied, Gone, Later, Unreadable  # noqa: PLC0415
    from webhooks.forges import make_forge, unreadable  # noqa: PLC0415

    for key, why in unreadable(rules):
        raise OctofleetError(f"{key}: {why}", hint="docs/pull-requests.md tells what a forge needs")
    client = make_forge(rules).client

    async def ask() -> str:
        try:
            found = f"{rules.type} as {await client.account()}"
            left = client.calls_left()
            return found if left is None else f"{found}, {left:,} calls left"
        finally:
            await client.close()

    try:
        return asyncio.run(ask())
    except (Denied, Gone) as error:
        raise OctofleetError(
            str(error), hint="make a new token with the rights of docs/pull-requests.md, and check url and type"
        ) from error
    except (Later, Unreadable) as error:
        raise OctofleetError(str(error), hint="check url, ca_file and the network between") from error
