"""Routes of runs."""

from reconciler.identity.access import Action
from reconciler.reading import runs
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/runs",
        name="listRuns",
        action=Action.VIEW,
        summary="Runs, newest first.",
        do=runs.runs,
        asks=runs.RunsAsk,
        answers=runs.Runs,
        template="runs.html",
    ),
    Route(
        method="GET",
        path="/runs/{run}",
        name="getRun",
        action=Action.VIEW,
        summary="One run.",
        do=runs.run,
        answers=runs.RunDocument,
        template="run.html",
    ),
    Route(
        method="POST",
        path="/runs/{run}/pause",
        name="pauseRun",
        action=Action.PAUSE,
        summary="Begin nothing more of a run until it is resumed.",
        do=runs.pause,
        asks=runs.ReasonAsk,
        answers=runs.RunDocument,
        then="/runs/{run}",
        said="The run is paused.",
    ),
)
