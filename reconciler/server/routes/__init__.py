"""Every route of the API and the pages, one file for each subject."""

from reconciler.server.routes import plans, runs

ROUTES = (
    *plans.ROUTES,
    *runs.ROUTES,
)
