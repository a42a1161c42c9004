"""The route of who may do what."""

from reconciler.identity.access import Action
from reconciler.reading import access
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/access",
        name="getAccess",
        action=Action.VIEW,
        summary="Who has which role, and who may do something.",
        do=access.access,
        asks=access.AccessAsk,
        answers=access.AccessDocument,
        template="access.html",
        long=True,
    ),
)
