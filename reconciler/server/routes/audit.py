"""The route of the audit trail."""

from reconciler.identity.access import Action
from reconciler.reading import audit
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/audit",
        name="listAudit",
        action=Action.READ_AUDIT,
        summary="Who said and did what, newest first.",
        do=audit.audit,
        asks=audit.AuditAsk,
        answers=audit.Audit,
        template="audit.html",
    ),
)
