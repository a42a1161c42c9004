"""Routes of drivers, their providers and the processes that work."""

from reconciler.identity.access import Action
from reconciler.reading import providers
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/providers",
        name="listProviders",
        action=Action.VIEW,
        summary="How drivers and their providers stand, and what is left alone for a while.",
        do=providers.providers,
        asks=providers.ProvidersAsk,
        answers=providers.Providers,
        template="providers.html",
    ),
    Route(
        method="GET",
        path="/workers",
        name="listWorkers",
        action=Action.VIEW,
        summary="Processes that work on runs.",
        do=providers.workers,
        answers=providers.Workers,
        template="workers.html",
    ),
)
