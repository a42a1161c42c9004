"""What a run tells of hosts themselves: whether each could be reached, and those of its facts that do not change by themselves.

In: events of tasks, as `Listener` hears them. Out: a `HostTold` for each host of which anything is known. Facts have Ansible's names without `ansible_`,
flat: `kernel`, `interfaces.eth0.mac`, `mounts./var.size_mb`; each value is a text, a number, a truth value or a list of these. What changes by itself (time,
uptime, load, free memory and disk space) and what may hold secrets (environment, kernel's command line, keys, custom facts) is never kept; of custom facts
(`/etc/ansible/facts.d`) those of the file `octofleet.fact` alone are. Must not: keep anything that was not cleaned, or without a bound.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.drivers.ansible.fields import Clean, bounded
from reconciler.types.canonical import canonical
from reconciler.types.task import HostTold

Flat: TypeAlias = dict[str, Any]

PLAIN = (
    "architecture", "bios_date", "bios_version", "distribution", "distribution_release", "distribution_version", "domain", "fips", "form_factor", "fqdn",
    "hostname", "kernel", "machine_id", "os_family", "pkg_mgr", "processor_cores", "processor_count", "processor_vcpus", "product_name", "product_serial",
    "product_uuid", "product_version", "python_version", "service_mgr", "system", "system_vendor", "virtualization_role", "virtualization_type",
)  # fmt: skip
"""Facts of one value."""
PARTS = {
    "apparmor": ("status",),
    "default_ipv4": ("address", "gateway", "interface"),
    "default_ipv6": ("address", "gateway", "interface"),
    "dns": ("nameservers", "search"),
    "selinux": ("status", "mode", "type"),
}
"""Facts of which some parts are kept."""
CUSTOM = "octofleet"
"""The one file of custom facts that is kept, as `local.NAME`."""
MEMORY_STEP_MB = 128
"""Memory is rounded to this: a kernel takes a little more or less of it."""
PASSING = re.compile(r"^(lo|veth|cali|cni|docker|dummy|flannel|ifb|kube|lxc|tap|tunl|vnet|virbr|br-[0-9a-f]{12})")
"""Interfaces that come and go with containers and virtual machines."""
MOST_PARTS, MOST_TEXT, MOST_BYTES = 64, 300, 32_768
"""Of one list or kind of part; characters of a value; JSON of all facts of a host."""
GATHERING = frozenset(f"{prefix}{name}" for prefix in ("", "ansible.builtin.", "ansible.legacy.") for name in ("setup", "gather_facts"))
HERE_ONLY = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "ansible.builtin.", "ansible.legacy.")
    for name in ("add_host", "assert", "debug", "fail", "group_by", "meta", "pause", "set_fact", "set_stats", "validate_argument_spec", "wait_for_connection")
)  # fmt: skip
"""Tasks that end well without asking the host anything."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NOTHING = frozenset({"", "NA", "n/a", "None", "Not Specified", "unknown"})


@dataclass(slots=True, kw_only=True)
class Met:
    """Hears the tasks of a run."""

    hosts: Collection[str]
    clean: Clean
    _facts: dict[str, Flat] = field(default_factory=dict)
    _why: dict[str, str] = field(default_factory=dict)
    """Of hosts that did not answer when they were last asked."""
    _answered: set[str] = field(default_factory=set)

    def hear(self, kind: str, data: Mapping[str, Any]) -> None:
        """One event of a task. What was asked of another machine (`delegate_to`) says nothing of the host."""
        host, told = str(data.get("host", "")), data.get("res")
        res = told if isinstance(told, Mapping) else {}
        if host not in self.hosts or "_ansible_delegated_vars" in res or "delegated_host" in data:
            return
        action = str(data.get("resolved_action") or data.get("task_action") or "")
        if kind == "runner_on_unreachable":
            self._why[host] = bounded(self.clean(str(res.get("msg") or "no message").strip()), 1000)
        elif kind in ("runner_on_ok", "runner_on_failed") and action not in HERE_ONLY:
            self._answered.add(host)
            self._why.pop(host, None)
        if kind == "runner_on_ok" and action in GATHERING and isinstance(res.get("ansible_facts"), Mapping):
            self._facts[host] = _fitting(self._facts.get(host, {}) | steady(res["ansible_facts"], self.clean))

    def told(self, tenant: str, at: float) -> list[HostTold]:
        """What is known of the hosts when the run is over, at a time in seconds since the epoch. Nothing of those that were never asked."""
        return [
            HostTold(
                tenant=tenant,
                host=host,
                at=at,
                answered=host not in self._why,
                facts=self._facts.get(host, {}),
                why=self._why.get(host, ""),
            )
            for host in sorted(self._answered | self._why.keys())
        ]


def steady(told: Mapping[str, Any], clean: Clean) -> Flat:
    """Of what the module `setup` gives, what does not change by itself: flat, cleaned and bounded. What is of another shape than expected is left out."""
    facts = {str(name).removeprefix("ansible_"): value for name, value in told.items()}
    found = (
        dict(_named(facts))
        | dict(_parts(facts))
        | dict(_sizes(facts))
        | dict(_interfaces(facts))
        | dict(_mounts(facts))
        | dict(_custom(facts))
    )
    kept = {_text(path, clean): value for path, raw in found.items() if (value := _value(raw, clean)) is not None}
    return _fitting(dict(sorted(kept.items())))


def _named(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, facts.get(name)) for name in PLAIN)
    processor = facts.get("processor")
    if isinstance(processor, list) and len(processor) > 2:  # number, vendor and model of each
        yield "processor_model", processor[2]


def _parts(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, parts in PARTS.items():
        part = facts.get(name)
        if isinstance(part, Mapping):
            yield from ((f"{name}.{key}", part.get(key)) for key in parts)


def _sizes(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for theirs, ours in {"memtotal_mb": "memory_mb", "swaptotal_mb": "swap_mb"}.items():
        if isinstance(size := facts.get(theirs), int):
            yield ours, round(size / MEMORY_STEP_MB) * MEMORY_STEP_MB


def _interfaces(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    names = facts.get("interfaces")
    if not isinstance(names, list):
        return
    for name in sorted(name for name in names if isinstance(name, str) and not PASSING.match(name))[:MOST_PARTS]:
        said = facts.get(re.sub(r"[-:]", "_", name))
        if not isinstance(said, Mapping):
            continue
        yield f"interfaces.{name}.mac", said.get("macaddress")
        yield f"interfaces.{name}.mtu", said.get("mtu")
        yield f"interfaces.{name}.type", said.get("type")
        first, more, sixth = said.get("ipv4"), said.get("ipv4_secondaries"), said.get("ipv6")
        fourth = [first, *(more if isinstance(more, list) else ())]
        yield f"interfaces.{name}.ipv4", _addresses(fourth)
        yield f"interfaces.{name}.ipv6", _addresses(sixth if isinstance(sixth, list) else ())


def _addresses(found: Sequence[Any]) -> list[str]:
    said = (one for one in found if isinstance(one, Mapping) and isinstance(one.get("address"), str))
    return sorted(f"{one['address']}/{one['prefix']}" if one.get("prefix") else one["address"] for one in said)


def _mounts(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    found = facts.get("mounts")
    mounts = [one for one in found if isinstance(one, Mapping) and isinstance(one.get("mount"), str)] if isinstance(found, list) else []
    for one in sorted(mounts, key=lambda one: str(one["mount"]))[:MOST_PARTS]:
        yield f"mounts.{one['mount']}.device", one.get("device")
        yield f"mounts.{one['mount']}.fstype", one.get("fstype")
        if isinstance(size := one.get("size_total"), int):
            yield f"mounts.{one['mount']}.size_mb", size >> 20


def _custom(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    local = facts.get("local")
    mine = local.get(CUSTOM) if isinstance(local, Mapping) else None
    if isinstance(mine, Mapping):
        yield from _leaves(f"local.{CUSTOM}", mine)


def _leaves(path: str, value: Any, deep: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and deep < 4:
        for key, inner in sorted(value.items(), key=lambda item: str(item[0]))[:MOST_PARTS]:
            yield from _leaves(f"{path}.{key}", inner, deep + 1)
    else:
        yield path, value


def _value(raw: Any, clean: Clean) -> Any:
    """The value as it is kept; None where there is nothing."""
    match raw:
        case bool() | int():
            return raw
        case str():
            text = _text(raw, clean)
            return None if text in _NOTHING else text
        case list():
            return [one for item in raw[:MOST_PARTS] if not isinstance(item, list) and (one := _value(item, clean)) is not None] or None
        case _:
            return None


def _text(raw: str, clean: Clean) -> str:
    return bounded(_CONTROL.sub(" ", clean(raw)).strip(), MOST_TEXT)


def _fitting(facts: Flat) -> Flat:
    """As much as there is room for: what has the most parts goes first."""
    while len(canonical(facts)) > MOST_BYTES:
        sizes: dict[str, int] = {}
        for path, value in facts.items():
            name = path.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + len(path) + len(canonical(value))
        largest = max(sizes, key=lambda name: sizes[name])
        facts = {path: value for path, value in facts.items() if path.partition(".")[0] != largest}
    return facts
