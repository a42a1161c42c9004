"""What a pull request that was merged still waits for: whose word, and what can be said in it."""

from collections.abc import Sequence

from reconciler.approving import authors_of, waits
from reconciler.identity.access import Action
from reconciler.settings import Followed
from reconciler.source.repository import Repository
from reconciler.store.followed import APPROVAL, REPORTED, followed
from reconciler.store.plans import load_plan, newest_plan
from reconciler.wiring import Installation, where
from webhooks.said import Requirement


def waits_for(
    installation: Installation, rules: Followed, shown: int | None, repository: Repository
) -> tuple[Sequence[Requirement], Sequence[tuple[str, str]]]:
    """What the plan of its branch needs, and the commands that help, each with what it does. `shown`: the row of the plan that its comment showed, which is
    all that can be answered for there. Raises `OctofleetError` if the history cannot be read."""
    with installation.store.read() as connection:
        stands = next((found for found in followed(connection) if found.location == where(rules.location)), None)
        row = newest_plan(connection, stands.about, stands.location) if stands and stands.code in (APPROVAL, REPORTED) else None
        if stands is None or row is None:
            return (), ()
        plan = load_plan(connection, row)
        seen = shown is not None and connection.scalar('SELECT id FROM plan WHERE "row" = ?', (shown,)) == plan.id
    authors = authors_of(installation, plan, repository)
    with installation.store.read() as connection:
        needs = [Requirement.of(item) for item in waits(connection, plan, authors, connection.now()).missing]
    says = [(f"octofleet {Action.APPROVE} {plan.id[:12]}", "answer for these changes")] if needs and seen else []
    if stands.code == REPORTED and rules.apply_on == "comment":
        says.append((f"octofleet {Action.APPLY}", "apply it"))
    return needs, says
