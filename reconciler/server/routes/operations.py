"""Routes of operations."""

from reconciler.identity.access import Action
from reconciler.reading import making, operations
from reconciler.reading.paging import Ask
from reconciler.reading.plan_seen import PlanDocument
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/operations",
        name="listOperations",
        action=Action.VIEW,
        summary="Operations in force: when each is due next, and how it went last.",
        do=operations.operations,
        asks=Ask,
        answers=operations.Operations,
        template="operations.html",
    ),
    Route(
        method="POST",
        path="/operations",
        name="planOperation",
        action=Action.RUN,
        summary="Plan an operation, or a playbook on some hosts; it runs when the plan is applied.",
        do=operations.plan,
        asks=operations.OperationAsk,
        answers=PlanDocument,
        then="/plans/{plan}",
        said="This is what it would do. It runs when you apply the plan.",
        status=201,
        long=True,
        later=making.PlanRequest,
    ),
)
