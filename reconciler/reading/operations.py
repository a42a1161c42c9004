"""Operations over HTTP: when each is due and how it went last, and plans of one that somebody asks for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from reconciler.drivers.ansible.resources import Said
from reconciler.errors import Refused
from reconciler.identity.access import Action
from reconciler.operating import applied, asked, found_by, plan_operation, selected
from reconciler.permitting import to_run
from reconciler.planning import compiled
from reconciler.reading.call import Call
from reconciler.reading.explain import Word
from reconciler.reading.making import PlanRequest, again, made
from reconciler.reading.paging import Ask, Document, Note
from reconciler.reading.plan_seen import PlanDocument
from reconciler.reading.whose import told_in_sight
from reconciler.scheduling import Standing, standing
from reconciler.store.records import locations
from reconciler.types.change import Risk
from reconciler.wiring import Installation

Selection = Annotated[str, msgspec.Meta(max_length=10_000, description="Hosts: scopes and KEY=VALUE of labels, with spaces between.")]
RiskWord = Annotated[str, msgspec.Meta(max_length=300, description=f"Of {', '.join(risk.value for risk in Risk)}, with spaces between.")]


class OperationDocument(Document, frozen=True, kw_only=True):
    """An Operation in force. `may_run`: whether the caller may do it to all of its tenant, or of the Fleet; `scheduled`: whether it
    has times; `next_at`: when it is due next, within a year; `state`, `due_at`, `run` and `note`: of the last time that it was: begun, waiting, reported or
    missed."""

    source: str
    tenant: str
    name: str
    playbook: str
    may_run: bool
    scheduled: bool
    next_at: float | None
    state: str = ""
    due_at: float | None = None
    run: str = ""
    note: str = ""


class Operations(Document, frozen=True, kw_only=True):
    """Sorted by Fleet, tenant and name. `sources`: the Fleets in which the caller may ask for one."""

    items: list[OperationDocument]
    sources: list[str]


class OperationAsk(Ask, frozen=True, kw_only=True):
    """What to do to which hosts of a Fleet (may be left out where there is one): an `operation` (`NAME`, `TENANT/NAME`), or a `playbook` of the commit that was
    applied last.
    `on`: which hosts; `serial`: so many at once, or a share; `blind`: without a look in check mode before. `request`: of an answer 202, instead of all
    else: wait for that plan."""

    source: Word = ""
    operation: Word = ""
    playbook: Word = ""
    on: Selection = ""
    serial: Word = ""
    risks: RiskWord = ""
    become: bool = False
    blind: bool = False
    reason: Note = ""
    request: Word = ""


def operations(call: Call, ask: Ask) -> Operations:
    """All that the caller may see."""
    del ask
    with call.installation.store.read() as connection:
        found = standing(connection)
        known = list(locations(connection))
    sight = call.sight
    items = [_document(call, one) for one in found if _seen(call, one)]
    may = call.may_somewhere(Action.RUN)
    return Operations(items=items, sources=[source for source in known if may and sight.some(source)])


def _seen(call: Call, one: Standing) -> bool:
    """One of a tenant by who sees something of the tenant, one of all by who sees something of the Fleet."""
    return call.sight.some_of(one.source, one.tenant) if one.tenant else call.sight.some(one.source)


def _document(call: Call, one: Standing) -> OperationDocument:
    """What is in its way may name hosts of other tenants."""
    last, all_of_it = one.last, call.sight.of_tenant(one.source, one.tenant) if one.tenant else call.sight.whole(one.source)
    made_of = {
        "source": one.source,
        "tenant": one.tenant,
        "name": one.name,
        "playbook": one.playbook,
        "scheduled": one.scheduled,
        "next_at": one.next_at,
    }
    made_of |= {"may_run": call.may(Action.RUN, one.source, one.tenant)}
    if last is None:
        return OperationDocument(**made_of)  # type: ignore[arg-type]
    note = last.note if all_of_it else ""
    return OperationDocument(**made_of, state=last.state, due_at=last.due_at, run=last.run, note=note)  # type: ignore[arg-type]


def plan(call: Call, ask: OperationAsk) -> PlanDocument | PlanRequest:
    """Plan it, and store the plan; of one that takes long, how to ask for it again."""
    if ask.request:
        call.use(Action.RUN)
        return again(call, ask.request)
    source, location = _source(call, ask.source)
    if bool(ask.operation) == bool(ask.playbook):
        raise Refused("name an operation or a playbook", hint="one of the two", code="operation")
    selection = ask.on.split()
    if ask.playbook and not selection:
        raise Refused("say on which hosts", hint="for example host/shop/web-*, or site=ams1", code="selection")

    def permit(of: str, groups: Sequence[str]) -> None:
        call.permit(of, to_run(of, groups))

    def work(installation: Installation) -> int:
        with told_in_sight(call.sight, source, "the operation cannot be planned"):
            repository = installation.repository(location)
            commit = applied(installation, repository, source)
            if ask.operation:
                wanted = found_by(compiled(installation, repository, commit), ask.operation)
            else:
                wanted = asked(Said(ansible={"playbook": ask.playbook, "become": ask.become}), risks=_risks(ask.risks), serial=ask.serial)
            wanted = selected(replace(wanted, check=wanted.check and not ask.blind), selection)
            return plan_operation(installation, repository, commit, wanted, permit=permit).row

    call.use(Action.RUN)
    return made(call, source, work)


def _risks(text: str) -> list[str]:
    known = {risk.value for risk in Risk}
    if unknown := [word for word in text.split() if word not in known]:
        raise Refused(f"there is no risk {unknown[0]}", hint=f"there are: {', '.join(sorted(known))}", code="risk")
    return text.split()


def _source(call: Call, name: str) -> tuple[str, str]:
    """A Fleet that the caller sees something of, and where it was applied from. Raises `Refused`."""
    with call.installation.store.read() as connection:
        known = {source: location for source, location in locations(connection).items() if call.sight.some(source)}
    if not name and len(known) == 1:
        name = next(iter(known))
    if name not in known:
        text = f"there is no Fleet {name}" if name else "name the Fleet" if known else "nothing was applied yet"
        raise Refused(text, hint=f"there are: {', '.join(known)}" if known else "octofleet apply", code="no-source")
    return name, known[name]
