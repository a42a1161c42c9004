"""The route of alerts."""

from reconciler.identity.access import Action
from reconciler.reading import alerts
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/alerts",
        name="listAlerts",
        action=Action.VIEW,
        summary="What people are told of, and who cannot be told.",
        do=alerts.alerts,
        asks=alerts.AlertsAsk,
        answers=alerts.Alerts,
        template="alerts.html",
    ),
)
