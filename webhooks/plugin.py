"""What forges add to `octofleet serve`: a route for their deliveries, the queue of what they are told, and the work on pull requests."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.errors import OctofleetError
from reconciler.plugins import Check, Part, Serves, hookimpl
from reconciler.settings import Followed
from reconciler.settings import Forge as Rules

if TYPE_CHECKING:
    from webhooks.forge import Client

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
def octofleet_opens_pull(installation: Any, followed: Followed, branch: str, onto: str, title: str, body: str) -> str | None:
    """By the forge that the settings name for the repository."""
    import asyncio  # noqa: PLC0415

    from webhooks.forge import Denied, Gone, Later, Unreadable  # noqa: PLC0415
    from webhooks.forges import make_forge  # noqa: PLC0415

    rules = next((one for one in installation.settings.forges if one.name == followed.forge), None)
    if rules is None:
        return None
    client = make_forge(rules).client

    async def opened() -> str:
        try:
            there = (pull for pull in await client.open_pulls(followed.project, onto) if pull.head_branch == branch and not pull.fork)
            found = next(there, None) or await client.open_pull(followed.project, branch, onto, title, body)
            return found.url
        finally:
            await client.close()

    try:
        return asyncio.run(opened())
    except (Denied, Gone, Later, Unreadable) as error:
        text = f"no pull request could be opened for the branch {branch} of {followed.project}: {error}"
        raise OctofleetError(text, hint="open it by hand; docs/pull-requests.md tells what a token needs", code="forge") from error


@hookimpl
def octofleet_checks(installation: Any) -> Iterable[Check]:
    """For each forge whether its settings are whole, whether it can be reached and takes the token, whether the token reads the pull requests of each
    project, and how many calls it still takes."""
    forges = enumerate(installation.settings.forges)
    return [Check(name=f"forge {one.name}", look=partial(_look, installation, number, one)) for number, one in forges]


def _look(installation: Any, number: int, rules: Rules) -> str:
    """In a word how a forge takes us. Raises `OctofleetError`."""
    import asyncio  # noqa: PLC0415

    from webhooks.forge import Denied, Gone, Later, Unreadable  # noqa: PLC0415
    from webhooks.forges import exposed, make_forge  # noqa: PLC0415

    _check(installation, number, rules)
    for name in exposed(rules):
        raise OctofleetError(f"everybody on this machine can read {name}", hint=f"chmod o-rwx {name} (in Kubernetes: defaultMode: 0440)")
    client = make_forge(rules).client

    async def ask() -> str:
        try:
            found = f"{rules.type} as {await client.account()}"
            for followed in installation.settings.repositories:
                if followed.forge == rules.name:
                    await _reads(client, followed)
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


async def _reads(client: "Client", followed: Followed) -> None:
    """Raises `OctofleetError` if the pull requests of a project cannot be read."""
    from webhooks.forge import Denied, Gone  # noqa: PLC0415

    try:
        await client.open_pulls(followed.project, followed.branch)
    except (Denied, Gone) as error:
        hint = "write project as the forge's URLs have it, and give the token's account access to it"
        raise OctofleetError(f"the pull requests of {followed.project} cannot be read: {error}", hint=hint) from error
