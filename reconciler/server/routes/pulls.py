"""Routes of pull requests."""

from reconciler.identity.access import Action
from reconciler.reading import pulls
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/pulls",
        name="listPulls",
        action=Action.VIEW,
        summary="Pull requests of followed repositories, by key.",
        do=pulls.pulls,
        asks=pulls.PullsAsk,
        answers=pulls.Pulls,
        template="pulls.html",
    ),
    Route(
        method="GET",
        path="/pulls/{forge}/{project:.+}/{number}",
        name="getPull",
        action=Action.VIEW,
        summary="One pull request: its plan, what was said to Octofleet, what it holds.",
        do=pulls.pull,
        answers=pulls.PullDetails,
        template="pull.html",
    ),
)
