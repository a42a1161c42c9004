"""Events of runs."""

from reconciler.identity.access import Action
from reconciler.reading import live
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/runs/{run}/events",
        name="followRun",
        action=Action.VIEW,
        summary="What happens in a run, as it happens.",
        do=live.watch,
        asks=live.WatchAsk,
        answers=live.Event,
        stream=True,
    ),
)
