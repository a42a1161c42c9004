"""Every route of the API and the pages, one file for each subject."""

from reconciler.server.routes import runs

ROUTES = (*runs.ROUTES,)
