"""Every route of the API and the pages, one file for each subject."""

from reconciler.server.routes import access, alerts, audit, events, facts, fleet, gates, installs, operations, plans, providers, pulls, runs

ROUTES = (
    *fleet.ROUTES,
    *facts.ROUTES,
    *installs.ROUTES,
    *operations.ROUTES,
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
