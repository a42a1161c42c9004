"""Which machines a step waits for that installs them over the network, what was last seen of each, and what to do."""

from collections.abc import Iterable, Iterator

from reconciler.reason import Why
from reconciler.report.view import duration
from reconciler.types.installation import Installation, Power, State

CODE = "machine"
CAME = {
    Power.NONE: (
        "the machine has not booted from the network yet",
        "switch it on so that it boots from the network; octofleet installs shows each",
    ),
    Power.LATER: ("the machine is about to be told to boot from the network", "wait; octofleet installs shows each"),
    Power.STARTED: (
        "the machine was told to boot from the network, and has not come yet",
        "wait, or see whether its network card boots first; octofleet installs shows each",
    ),
    Power.REFUSED: (
        "the machine could not be told to boot from the network",
        "switch it on yourself; octofleet logs RUN says what its BMC said, octofleet installs shows each",
    ),
}
BOOTING = "the machine has fetched its boot script, and its installer has said nothing yet"
INSTALLING = "its installer is at work"
LOOK = "wait, or look at its console; octofleet installs shows each"


def machines(found: Iterable[Installation], now: float) -> Iterator[Why]:
    """A reason for each that goes on."""
    for one in found:
        text, then = (INSTALLING, LOOK) if one.state is State.INSTALLING else (BOOTING, LOOK) if one.claimed_at else CAME[one.power]
        yield Why(
            code=CODE,
            text=text,
            next=then.replace("RUN", one.run),
            what=(_seen(one, now),),
            number=1,
            since=one.armed_at,
            deadline=one.expires_at,
        )


def _seen(one: Installation, now: float) -> str:
    last = f"armed {duration(now - one.armed_at)} ago"
    if one.stage_at is not None:
        last = f"said {one.stage} {duration(now - one.stage_at)} ago"
    elif one.claimed_at is not None:
        last = f"came {duration(now - one.claimed_at)} ago from {one.claimed_by}"
    left = f"{duration(one.expires_at - now)} left" if one.expires_at > now else "its time is over"
    return f"{one.tenant}/{one.host} (generation {one.generation}, attempt {one.attempt} of {one.attempts}), {last}, {left}"
