"""What forges add to `octofleet serve`: a route for their deliveries, and the work on pull requests."""

from collections.abc import Iterable

from reconciler.plugins import Part, Serves, hookimpl


@hookimpl
def octofleet_serves(serves: Serves) -> Iterable[Part]:
    """Nothing without `[[forges]]`."""
    del serves
    return ()
