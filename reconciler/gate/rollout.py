"""Rollouts: in which parts, and after which waits, the hosts of a plan go out. Pure.

In: the hosts that something changes for, with their labels and their rollout. Out: phases. Hosts of a tenant with the same rollout are one track; a track's
phases follow each other, tracks do not wait for each other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from reconciler.types.canonical import digest
from reconciler.types.change import WORLD, Change
from reconciler.types.duration import seconds_of
from reconciler.types.plan import WAIT_S, OnStop, Phase
from reconciler.types.values import Spec

Count = int | str
"""A number of hosts, or a share of them such as `5%`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOut:
    """A host that something changes for. `rollout` as its settings said when they were last applied, or of a `new` host as they say now; None for one that
    goes out at once."""

    group: str
    tenant: str
    labels: Mapping[str, str]
    rollout: Spec | None
    new: bool = False


def is_rolled_out(change: Change) -> bool:
    """Whether a rollout of its host has a say in it: not in what is Octofleet's own, which touches no machine."""
    return change.group.startswith("host/") and not change.address.startswith("fleet/") and change.action in WORLD


def phases(hosts: Iterable[RolledOut]) -> tuple[Phase, ...]:
    """The phases of every track that has more than one, a health check, or something that happens when it stops; hosts of other tracks go out at once, and
    are in none."""
    tracks: dict[tuple[str, str], list[RolledOut]] = {}
    for host in hosts:
        if host.rollout:
            tracks.setdefault((host.tenant, track_of(host.rollout)), []).append(host)
    found: list[Phase] = []
    for (tenant, track), members in sorted(tracks.items(), key=lambda item: item[0]):
        found += _track(tenant, track, sorted(members, key=lambda host: (host.new, host.group)))
    return tuple(found)


def track_of(rollout: Spec) -> str:
    """The name of a rollout's track: the one that it says, or one made of all that it says."""
    return str(rollout.get("name") or digest(rollout)[:8])


def number_of(count: Count, whole: int) -> int:
    """So many of a whole; a share is rounded up."""
    return int(count) if not isinstance(count, str) else ceil(whole * float(count.removesuffix("%")) / 100)


def _track(tenant: str, track: str, members: Sequence[RolledOut]) -> Iterator[Phase]:
    """Who is new comes last: what a name stands for is told by who has it on record, and the canary is a host that had something before."""
    rollout = members[0].rollout or {}
    parts = list(_parts(rollout, members))
    check = bool(rollout.get("health", False))
    on_stop = rollout.get("onStop", OnStop.WAIT.value)
    if len(parts) == 1 and not check and on_stop == OnStop.WAIT:
        return
    wait_s = seconds_of(rollout["promoteWithin"]) if "promoteWithin" in rollout else WAIT_S
    soak_s = seconds_of(rollout["soak"]) if "soak" in rollout else 0.0
    most = number_of(rollout.get("maxFailures", 0), len(members))
    asks = rollout.get("promote", "never")
    number = 0
    for place, (title, wave, groups) in enumerate(parts):
        new_wave = place > 0 and parts[place - 1][1] != wave
        promote = place > 0 and (asks == "batch" or (asks == "wave" and new_wave) or (asks == "canary" and parts[place - 1][1] == "canary"))
        phase = Phase(
            tenant=tenant,
            track=track,
            number=number,
            title=title,
            groups=groups,
            promote=promote,
            max_failures=most,
            on_stop=on_stop,
            wait_s=wait_s,
        )
        yield replace(phase, soak_s=0.0 if check or place == 0 else soak_s)
        number += 1
        if check:
            yield replace(phase, number=number, title=f"{title}: health", soak_s=soak_s, promote=False, check=True)
            number += 1


def _parts(rollout: Spec, members: Sequence[RolledOut]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Title, name of the wave and groups of each batch, in order."""
    left = list(members)
    if "canary" in rollout and len(left) > 1:
        number = min(max(1, number_of(rollout["canary"], len(left))), len(left) - 1)
        yield "canary", "canary", tuple(host.group for host in left[:number])
        left = left[number:]
    waves: list[tuple[str, list[RolledOut]]] = []
    for number, wave in enumerate(rollout.get("waves", ()), 1):
        wanted = wave["labels"].items()
        waves.append((wave.get("name", f"wave {number}"), [host for host in left if wanted <= host.labels.items()]))
        taken = {host.group for host in waves[-1][1]}
        left = [host for host in left if host.group not in taken]
    waves.append(("the rest" if waves or "canary" in rollout else "all", left))
    size = max(1, number_of(rollout["serial"], len(members))) if "serial" in rollout else len(members)
    for name, hosts in waves:
        batches = [hosts[start : start + size] for start in range(0, len(hosts), size)]
        for number, batch in enumerate(batches, 1):
            title = f"{name}, batch {number} of {len(batches)}" if len(batches) > 1 else name
            yield title, name, tuple(host.group for host in batch)
