"""Every route of the API and the pages, one file for each subject."""

from reconciler.server.routes import access, alerts, audit, events, gates, plans, providers, pulls, runs

ROUTES = (
    *plans.ROUTES,
    *runs.ROUTES,
    *events.ROUTES,
    *gates.ROUTES,
    *pulls.ROUTES,
    *audit.ROUTES,
    *alerts.ROUTES,
    *providers.ROUTES,
    *access.ROUTES,
)
