"""Every route of the API and the pages, one file for each subject."""

from reconciler.server.routes import events, runs

ROUTES = (
    *runs.ROUTES,
    *events.ROUTES,
)
