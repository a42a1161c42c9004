"""Which file and line set the values of a host, and its boot files: what `octofleet explain` and `octofleet render` print."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec

from reconciler.desired.desired import Desired
from reconciler.desired.explain import Setting, leaves, settings
from reconciler.drivers.ansible.provenance import around
from reconciler.errors import Refused
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Raw
from reconciler.reading.wanted import Ref, Shown, Wanted, found_host, ref_of, wanted
from reconciler.rendering import rendered
from reconciler.source.repository import Commit, Repository
from reconciler.types.pointer import escape, tokens
from renderers.contract import RenderError

Word = Annotated[str, msgspec.Meta(max_length=400)]
Rev = Annotated[str, msgspec.Meta(max_length=400, pattern=r"^[^-\x00-\x20\x7f:^~{}?*\[\\][^\x00-\x20\x7f:^~{}?*\[\\]*$|^$")]
"""A branch, a tag or a commit, in all characters that `git check-ref-format` lets names have; nothing that has Git search for one."""


class ExplainAsk(Ask, frozen=True, kw_only=True):
    """`ref`, or `host`: `host/[TENANT/]NAME`; `field`: such as `spec.disk`, every value without one; `rev`: a commit, by default the one applied last."""

    ref: Word = ""
    host: Word = ""
    field: Word = ""
    rev: Rev = ""


class Place(Document, frozen=True, kw_only=True):
    """Where in the repository."""

    path: str
    line: int
    column: int


class Said(Document, frozen=True, kw_only=True):
    """One layer's say."""

    layer: str
    value: Any
    origin: Place


class Unread(Document, frozen=True, kw_only=True):
    """A file of an Ansible project that may say something of a value, and why it was not read."""

    path: str
    why: str


class ValueSaid(Document, frozen=True, kw_only=True):
    """Every layer that says something of a value, lowest first: the last one wins or adds. `roles`: in whose playbooks, where files of their Ansible
    projects say something too."""

    path: str
    settings: list[Said]
    roles: list[str] = msgspec.field(default_factory=list)
    unread: list[Unread] = msgspec.field(default_factory=list)


class Explained(Document, frozen=True, kw_only=True):
    """The values of a host."""

    ref: str
    values: list[ValueSaid]


class Files(Document, frozen=True, kw_only=True):
    """Boot files by name, as they would be published; those that hold a secret are left out."""

    ref: str
    files: dict[str, str]


def explain(call: Call, ask: ExplainAsk) -> Explained:
    """Of one host; of none without a `ref`."""
    if not ask.ref and not ask.host and call.sight:
        return Explained(ref="", values=[])
    ref, found = _asked(call, ask.ref or ask.host, ask.rev)
    found_host(found, ref)
    return explained(ref.group, said_of(found.desired, ref.group, ask.field, found.repository, found.commit), Shown.to(call, ref).of)


def render(call: Call, ask: ExplainAsk) -> Files:
    """Of one host. Raises `Refused` if a file cannot be rendered."""
    ref, found = _asked(call, ask.ref or ask.host, ask.rev)
    return Files(ref=ref.group, files={name: data.decode(errors="replace") for name, data in _files(call, ref, found).items()})


def boot_file(call: Call, ask: Ask) -> Raw:
    """One file of a host, as text."""
    del ask
    ref, found = _asked(call, f"host/{call.path['tenant']}/{call.path['name']}", "")
    files = _files(call, ref, found)
    if call.path["file"] not in files:
        raise Refused(
            f"{ref.group} has no boot file {call.path['file']}", hint="the page of the host has those that it has", code="no-file"
        )
    return Raw(body=files[call.path["file"]])


def _asked(call: Call, text: str, rev: str) -> tuple[Ref, Wanted]:
    ref = ref_of(call, text)
    return ref, wanted(call, ref, rev)


def _files(call: Call, ref: Ref, found: Wanted) -> Mapping[str, bytes]:
    files: dict[str, bytes] = {}
    for name, _, data in rendered(call.installation, found.repository, found.commit, found_host(found, ref)):
        if isinstance(data, RenderError):
            text = f"{ref.group}: {name} cannot be rendered: {data}"
            raise Refused(text, hint="octofleet validate shows where to mend it", code="render")
        files[name] = data
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The layers of one value, by its pointer. `roles`: see `ValueSaid`; `unread`: files by path, and why they were not read."""

    pointer: str
    settings: Sequence[Setting]
    roles: tuple[str, ...] = ()
    unread: Mapping[str, str] = dataclasses.field(default_factory=dict)


def said_of(desired: Desired, group: str, field: str, repository: Repository, commit: Commit) -> list[Explanation]:
    """The layers of a field of a host, or of every value; of a variable also those in the files of Ansible projects. Raises `Refused` if there is none."""
    pointer = "".join(f"/{escape(part)}" for part in re.split(r"[.\[\]]+", field.removeprefix("spec")) if part)
    pointers = [pointer] if field else [where for where, _ in leaves(dict(desired.resolver.resolve(desired.hosts[group]).values))]
    variable = tokens(pointer)[1:] if pointer == "/vars" or pointer.startswith("/vars/") else None
    if variable is not None:
        found = _in_runs(desired, group, pointer, variable, repository, commit.tree)
    else:
        found = [Explanation(pointer=where, settings=said) for where in pointers if (said := settings(desired, group, where))]
    if not any(one.settings or one.unread for one in found):
        raise Refused(f"{group} has no value {field}", hint=f"octofleet explain {group} lists every value", code="no-field")
    return found


def _in_runs(desired: Desired, group: str, pointer: str, variable: list[str], repository: Repository, tree: str) -> list[Explanation]:
    """What runs see of a variable: those of Roles whose projects say the same are told as one."""
    said = settings(desired, group, pointer)
    host = desired.resolver.resolve(desired.hosts[group])
    found: list[Explanation] = []
    for role in (role for role in host.roles if role.ansible is not None):
        files = around(repository, tree, host, role, variable)
        layers = [*files.below, *said, *files.above]
        same = next((one for one in found if one.settings == layers and one.unread == files.unread), None)
        if same is not None:
            found[found.index(same)] = replace(same, roles=(*same.roles, role.name))
        elif layers or files.unread:
            found.append(Explanation(pointer=pointer, settings=layers, roles=(role.name,), unread=files.unread))
    if all(list(one.settings) == said and not one.unread for one in found):
        return [Explanation(pointer=pointer, settings=said)]
    return found


def explained(group: str, found: Sequence[Explanation], shown: Callable[[object], Any]) -> Explained:
    """The document; `shown` gives values as they may be shown."""
    return Explained(
        ref=group,
        values=[
            ValueSaid(
                path=one.pointer,
                settings=[Said(layer=said.layer, value=shown(said.value), origin=place(said)) for said in one.settings],
                roles=list(one.roles),
                unread=[Unread(path=path, why=why) for path, why in one.unread.items()],
            )
            for one in found
        ],
    )


def place(said: Setting) -> Place:
    """Where a layer says it."""
    return Place(path=said.origin.path, line=said.origin.line, column=said.origin.column)
