"""Which file and line set the values of a host, and its boot files: what `octofleet explain` and `octofleet render` print."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from reconciler.desired.desired import Desired
from reconciler.desired.explain import Setting, leaves, settings
from reconciler.errors import Refused
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Raw
from reconciler.reading.wanted import Ref, Shown, Wanted, found_host, ref_of, wanted
from reconciler.rendering import rendered
from reconciler.types.pointer import escape
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


class ValueSaid(Document, frozen=True, kw_only=True):
    """Every layer that says something of a value, lowest first: the last one wins or adds."""

    path: str
    settings: list[Said]


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
    return explained(ref.group, said_of(found.desired, ref.group, ask.field), Shown.to(call, ref).of)


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


def said_of(desired: Desired, group: str, field: str) -> list[tuple[str, list[Setting]]]:
    """Pointer and layers of a field of a host, or of every value. Raises `Refused` if there is none."""
    pointer = "".join(f"/{escape(part)}" for part in re.split(r"[.\[\]]+", field.removeprefix("spec")) if part)
    pointers = [pointer] if field else [where for where, _ in leaves(dict(desired.resolver.resolve(desired.hosts[group]).values))]
    found = [(where, said) for where in pointers if (said := settings(desired, group, where))]
    if not found:
        raise Refused(f"{group} has no value {field}", hint=f"octofleet explain {group} lists every value", code="no-field")
    return found


def explained(group: str, found: Sequence[tuple[str, list[Setting]]], shown: Callable[[object], Any]) -> Explained:
    """The document; `shown` gives values as they may be shown."""
    return Explained(
        ref=group,
        values=[
            ValueSaid(path=where, settings=[Said(layer=one.layer, value=shown(one.value), origin=place(one)) for one in said])
            for where, said in found
        ],
    )


def place(said: Setting) -> Place:
    """Where a layer says it."""
    return Place(path=said.origin.path, line=said.origin.line, column=said.origin.column)
