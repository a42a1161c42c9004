"""Every route of the API and the pages, one file for each subject."""

from reconciler.server.routes import fleet, runs

ROUTES = (*fleet.ROUTES, *runs.ROUTES)
