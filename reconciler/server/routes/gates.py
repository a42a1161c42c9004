"""Routes of what keeps changes from beginning."""

from reconciler.identity.access import Action
from reconciler.reading import gates
from reconciler.server.route import Route

ROUTES = (
    Route(
        method="GET",
        path="/gates",
        name="getGates",
        action=Action.VIEW,
        summary="Windows, freezes, pauses and overrides that are in force.",
        do=gates.gates,
        answers=gates.GatesDocument,
        template="gates.html",
    ),
    Route(
        method="POST",
        path="/pauses",
        name="pauseScope",
        action=Action.PAUSE,
        summary="Begin nothing in a scope, for a while.",
        do=gates.pause,
        asks=gates.PauseAsk,
        answers=gates.PauseDocument,
        then="/gates",
        said="The scope is paused.",
    ),
    Route(
        method="POST",
        path="/pauses/{pause}/end",
        name="endPause",
        action=Action.RESUME,
        summary="Go on in a scope that is paused.",
        do=gates.end_pause,
        answers=gates.PauseDocument,
        then="/gates",
        said="The pause has ended.",
    ),
    Route(
        method="POST",
        path="/windows/override",
        name="overrideWindow",
        action=Action.OVERRIDE_WINDOW,
        summary="Have a maintenance window or a freeze not count for a while, or count again.",
        do=gates.override,
        asks=gates.OverrideAsk,
        answers=gates.GatesDocument,
        then="/gates",
        said="The window is overridden, or counts again.",
    ),
)
