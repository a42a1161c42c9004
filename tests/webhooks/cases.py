"""Pull requests of every kind, as `Said`: what the golden files are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from reconciler.gate.approvals import ApprovalRule, Missing
from reconciler.plan.guard import Share
from reconciler.report.view import View
from reconciler.source.signatures import Signature, Trust
from reconciler.store.pull_locks import Held
from reconciler.store.pulls import PullKey
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, GuardVerdict, Phase, Plan
from reconciler.types.problem import Problem, Severity
from reconciler.types.resource import Rules, address
from reconciler.types.values import Secret, SecretRef
from webhooks.forge import Pull, PullState
from webhooks.said import Ahead, Answer, Applied, Outcome, Requirement, Said, Shows, Untrusted

AT = 1_767_268_800.0
CLOSED = Shows()
HEAD, BASE, MERGED = "a" * 40, "b" * 40, "c" * 40
COMMANDS = (("octofleet plan", "look at the world and plan again"), ("octofleet approve -m WHY", "answer for these changes"))


def pull(**more: Any) -> Pull:
    said: dict[str, Any] = {
        "project": "acme/fleet", "number": 7, "title": "Longer leases", "author": "ada", "state": PullState.OPEN, "head": HEAD,
        "head_branch": "leases", "base_branch": "main", "fork": False, "url": "https://forge.example.net/acme/fleet/pull/7",
    }  # fmt: skip
    return Pull(**(said | more))


def field(
    path: str, before: object, after: object, *, recorded: object = None, causes: Sequence[Cause] = (Cause.COMMIT,), diff: str = ""
) -> FieldChange:
    """Seen as recorded, unless `recorded` says otherwise."""
    return FieldChange(
        path=path, recorded=before if recorded is None else recorded, before=before, after=after, causes=frozenset(causes), diff=diff
    )


def change(
    name: str,
    *fields: FieldChange,
    action: Action = Action.UPDATE,
    driver: str = "boot",
    kind: str = "user-data",
    tenant: str = "shop",
    causes: Sequence[Cause] = (Cause.COMMIT,),
    risk: Sequence[Risk] = (),
    group: str = "",
    **more: Any,
) -> Change:
    found = frozenset(causes) if not fields else frozenset().union(*(item.causes for item in fields))
    return Change(
        address=address(driver, kind, tenant, name), action=action, fields=fields, before_digest="1", after_digest="2", desired_digest="3",
        rules=Rules(tenant=tenant), group=group or f"host/{tenant}/{name}", origin=Origin(path="hosts/shop.yaml", line=3, column=1),
        causes=found, risk=frozenset(risk), **more,
    )  # fmt: skip


def plan(changes: Sequence[Change], **more: Any) -> Plan:
    said: dict[str, Any] = {
        "source": "example", "scope": "", "commit": MERGED, "base": BASE, "created_at": AT, "expires_at": AT + 86_400, "hosts": 10_000,
        "observed_from": AT - 60,
    }  # fmt: skip
    return Plan(changes=tuple(changes), **(said | more))


def said(
    changes: Sequence[Change] = (), *, of: Mapping[str, Any] | None = None, view: Mapping[str, Any] | None = None, **more: Any
) -> Said:
    """A pull request with a plan; `of` are the plan's fields, `view` the view's."""
    where: Callable[[Change, FieldChange], Origin | None] = lambda change, item: Origin(path="profiles/base.yaml", line=7, column=3)  # noqa: E731
    made = View(plan=plan(changes, **(of or {})), now=AT, **({"where": where} | dict(view or {})))
    found: dict[str, Any] = {
        "pull": pull(), "base": BASE, "merged": MERGED, "view": made, "commands": COMMANDS, "full": f"https://octofleet.example.net/plans/{made.plan.id}",
        "signatures": (Signature(commit=HEAD, trust=Trust.GOOD, signer="ada@example.net"),),
    }  # fmt: skip
    return Said(**(found | more))


def zone(name: str, **more: Any) -> Change:
    return change(name, field("/values/timezone", "Etc/UTC", "Europe/Berlin"), **more)


def small() -> Said:
    return said([zone("web-01"), zone("web-01", kind="preseed")])


def many_hosts() -> Said:
    kinds = ("user-data", "preseed", "network-config")
    return said([zone(f"web-{n:04d}", kind=kind) for n in range(1240) for kind in kinds])


def lost(number: int = 3) -> Said:
    gone = [change(f"db-{n:03d}", action=Action.DELETE, driver="fleet", kind="host", risk=[Risk.DESTRUCTIVE]) for n in range(number)]
    reinstalled = field("/install/generation", 3, 4)
    changes = [
        *gone,
        change("web-01", reinstalled, driver="fleet", kind="host", risk=[Risk.REINSTALL]),
        change("web-02", field("/kernel/options", ["quiet"], ["quiet", "iommu=on"]), risk=[Risk.REBOOT]),
    ]
    return said(changes, shares=[Share(driver="fleet", kind="host", number=number, known=1240, limit=124)])


def grants() -> Said:
    lines = ["+ github:grace is admin of tenant shop", "- group:ops is operator of tenant shop"]
    changes = [
        change(
            "ops", field("/bindings", ["x"], ["y"]), driver="fleet", kind="rolemapping", risk=[Risk.ACCESS], group="rolemapping/shop/ops"
        )
    ]
    return said(changes, view={"grants": lambda item: lines})


def beside(shows: Shows = CLOSED) -> Said:
    changes = [
        zone("web-01"),
        change("web-01", field("/mode", "0777", "0644", recorded="0644", causes=[Cause.DRIFT]), kind="grub-cfg"),
        change("web-02", field("/mode", "0777", "0644", recorded="0644", causes=[Cause.DRIFT]), kind="grub-cfg"),
        change("web-03", field("/values/locale", "C", "en_US.UTF-8", causes=[Cause.PENDING])),
        change(
            "motd",
            FieldChange(path="/tasks/motd/content", before="the old text", after="the new", causes=frozenset({Cause.DRIFT}), diff="-old\n+new\n"),
            action=Action.RUN, driver="ansible", kind="role", group="host/shop/web-04",
        ),
    ]  # fmt: skip
    return said(changes, shows=shows, signatures=None)


def refused() -> Said:
    guards = [
        GuardVerdict(
            guard="max-deletes:fleet/host",
            refuses=True,
            message="400 of 1240 recorded fleet/host resources (32%) would be removed; 124 are allowed (10 %, at least 3)",
            hint="remove fewer at once, or first merge and apply a commit that raises guards.maxDeletePercent in the Fleet",
        )
    ]
    gone = [change(f"db-{n:03d}", action=Action.DELETE, driver="fleet", kind="host", risk=[Risk.DESTRUCTIVE]) for n in range(400)]
    return said(gone, of={"guards": tuple(guards)}, shares=[Share(driver="fleet", kind="host", number=400, known=1240, limit=124)])


def refused_by_policy() -> Said:
    guards = (
        GuardVerdict(
            guard="policy/no-weekend", refuses=True, message="nothing on a weekend (policies/weekend.yaml:9:5)", hint="wait until Monday"
        ),
        GuardVerdict(guard="policy/leases", refuses=False, message="leases over a day", hint=""),
    )
    return said([zone("web-01")], of={"guards": guards})


def approvals(shows: Shows = CLOSED) -> Said:
    rule = ApprovalRule(name="two for the databases", people=("local:ada", "github:grace"), count=2, not_author=True)
    missing = Missing(rule=rule, number=3, first="fleet/host/shop/db-001", have=("local:ada",))
    wanted = [
        Requirement.of(missing),
        Requirement(name="signed commits", met=True, message="every commit is signed"),
        Requirement(name="up to date", met=False, message="main has 2 commits that this has not", who="whoever may push", firm=True),
    ]
    unsigned = (
        Signature(commit="d" * 40, trust=Trust.GOOD, signer="ada@example.net"),
        Signature(commit="e" * 40, trust=Trust.UNKNOWN_KEY, reason="no key of ours"),
    )
    return said([zone("db-001")], requirements=wanted, signatures=unsigned, shows=shows)


def locked(shows: Shows = CLOSED) -> Said:
    by, word = (PullKey(forge="hub", project="acme/fleet", number=number) for number in (5, 6))
    found = [Held(address=f"boot/user-data/shop/web-{n:02d}", by=by, at=AT - 7200) for n in range(9)]
    found.append(Held(address="boot/user-data/shop/web-09", by=word, at=AT - 60, identity="github:grace", reason="a migration, until noon"))
    return said([zone(f"web-{n:02d}") for n in range(10)], locks=found, shows=shows)


def gated(shows: Shows = CLOSED) -> Said:
    hosts = tuple(f"host/shop/web-{n:02d}" for n in range(20))
    common: dict[str, Any] = {"tenant": "shop", "track": "web", "max_failures": 1}
    phases = (
        Phase(number=0, title="canary", groups=hosts[:2], **common),
        Phase(number=1, title="canary: health", groups=hosts[:2], soak_s=600, check=True, **common),
        Phase(number=2, title="the rest", groups=hosts[2:], promote=True, **common),
    )
    windows = [
        Ahead(name="shop/nights", number=20, reason="the maintenance window shop/nights is closed", opens_at=AT + 36_000),
        Ahead(name="pause/3f", number=1, reason="host/shop/web-01 is paused by github:grace: a disk is being replaced", opens_at=AT + 600),
        Ahead(name="plant/shifts", number=3, reason="the maintenance window is open, and closes at 14:00 UTC"),
    ]
    return said([zone(f"web-{n:02d}") for n in range(20)], of={"phases": phases}, ahead=windows, shows=shows)


def fork() -> Said:
    return said(
        [zone("web-01")],
        pull=pull(fork=True),
        untrusted=Untrusted(left_out=("engines", "templates"), command="octofleet plan aaaaaaaaaaaa"),
    )


def merged(applied: Applied) -> Said:
    made = Said(pull=pull(state=PullState.MERGED), base=BASE)
    if applied is Applied.WAITS:
        outcome = Outcome(applied=applied, text="plan 9f waits for approval", next="octofleet apply 9f --approve")
        return replace(made, outcome=outcome, requirements=approvals().requirements[:1])
    return replace(made, outcome=Outcome(applied=applied, text="run 20261126-145422-652c22 done: 10 done"))


def conflict() -> Said:
    return Said(pull=pull(), base=BASE, conflicts=("hosts/shop.yaml", "fleet.yaml"), commands=COMMANDS[:1])


def problems() -> Said:
    found = [
        Problem(
            origin=Origin(path="hosts/web.yaml", line=3, column=5), code="schema", message="there is no field timezon", hint="timezone?"
        ),
        Problem(origin=Origin(path="fleet.yaml", line=1, column=1), code="yaml", message="a tab where spaces are needed"),
    ]
    return Said(pull=pull(), base=BASE, merged=MERGED, problems=found)


def warned() -> Said:
    """More than the comment lists."""
    found = [
        Problem(
            origin=Origin(path="ansible/web/tasks/main.yml", line=line, column=3),
            code="lint",
            message="fqcn[action-core]: Use FQCN for builtin module actions (shell).",
            severity=Severity.WARNING,
        )
        for line in range(3, 27)
    ]
    return replace(small(), problems=found)


def failed() -> Said:
    return Said(pull=pull(), base=BASE, failure="the database is away (event 7f3a)")


def pending() -> Said:
    return Said(pull=pull(), base=BASE, merged=MERGED, pending=True)


def unknown(shows: Shows = CLOSED) -> Said:
    put_off = [
        Deferred(
            address=f"ansible/role/shop/web-{n:02d}", code="unreachable", reason="ssh: 192.0.2.7: no route", group=f"host/shop/web-{n:02d}"
        )
        for n in range(10, 18)
    ]
    put_off.append(
        Deferred(address="boot/preseed/shop/db-01", code="desired-unknown", reason="hosts/db.yaml has problems", group="host/shop/db-01")
    )
    run = change(
        "web-01", action=Action.RUN, driver="ansible", kind="role", blind_spots=("reload (site.yml:9): check mode does not run a command",)
    )
    return said([zone("web-01"), run], of={"deferred": tuple(put_off), "observed_from": AT - 7200}, shows=shows)


DIFF = "--- published/shop/web-01/user-data\n+++ rendered/shop/web-01/user-data\n@@ -3,3 +3,3 @@\n locale: C\n-timezone: Etc/UTC\n+timezone: Europe/Berlin\n"


def boot_files(text: str = DIFF) -> Said:
    kinds = ("user-data", "preseed", "meta-data")
    changes = [zone(f"web-{n:02d}", kind=kind) for n in range(3) for kind in kinds]
    changes.append(change("db-01", field("/values/locale", "C", "de_DE.UTF-8")))
    other = text.replace("timezone", "time_zone")
    return said(changes, view={"diff": lambda item: other if "/preseed/" in item.address else text})


def nothing() -> Said:
    return said([])


def secret() -> Said:
    hidden = Secret(ref=SecretRef(store="vault", key="db#password"), token="0" * 64)
    return said([change("db-01", field("/values/password", "in the clear", hidden), field("/values/other", MISSING, {"nested": hidden}))])


def distinct(number: int, lines: int, *, beside_too: int = 0, hosts_each: int = 1) -> Said:
    """So many groups of hosts that differ, each with a difference of so many lines."""
    changes = [
        change(f"web-{n:04d}-{m}", field("/values/timezone", "Etc/UTC", f"Zone/{n}")) for n in range(number) for m in range(hosts_each)
    ]
    changes += [change(f"old-{n:04d}", field("/values/locale", "C", f"l{n}", causes=[Cause.PENDING])) for n in range(beside_too)]
    text = "".join(f"+line {n}\n" for n in range(lines))
    return said(changes, view={"diff": lambda item: f"--- {item.address}\n{text}"})


NAMES = (
    "a`b``c",
    "|cell|",
    "@acme/team",
    "#1",
    "GH-1",
    "acme/fleet#1",
    "<img src=x>",
    "[x](http://x)",
    "![x](http://y)",
    "http://x.example",
    "\u202eevil",
    "</details>",
)


def hostile(text: str) -> Said:
    """The text wherever somebody may choose it."""
    changes = [
        change(
            text,
            field(f"/{text}", text, [text, text], diff=text),
            tenant=text.replace("/", "") or "t",
            group=f"host/shop/{text}",
            blind_spots=(text,),
        ),
        change(text, field("/x", text, {text: text}, recorded="r", causes=[Cause.DRIFT]), kind="preseed", group=f"host/shop/2{text}"),
        change(text, action=Action.DELETE, driver="fleet", kind="host", risk=[Risk.DESTRUCTIVE], group=f"host/shop/3{text}"),
        change("m", action=Action.UPDATE, driver="fleet", kind="rolemapping", risk=[Risk.ACCESS], group=f"rolemapping/{text}"),
    ]
    guards = (GuardVerdict(guard=f"policy/{text}", refuses=False, message=text, hint=text),)
    held = [Held(address=text, by=PullKey(forge="hub", project=text, number=1), at=AT, identity=text, reason=text)]
    return said(
        changes,
        of={
            "source": text, "guards": guards, "deferred": (Deferred(address=text, code="unreachable", reason=text, group=f"host/{text}"),),
            "phases": (Phase(tenant=text, track=text, number=0, title=text, groups=(f"host/{text}",)),),
            "problems": (Problem(origin=Origin(path=text, line=1, column=1), code="x", message=text, hint=text),),
        },
        view={"grants": lambda item: [f"+ {text}"], "diff": lambda item: text, "where": lambda change, item: Origin(path=text, line=1, column=1)},
        pull=pull(title=text, author=text, base_branch=text, head_branch=text),
        shows=Shows(observed_values=True, names=True),
        signatures=[Signature(commit=HEAD, trust=Trust.GOOD, signer=text), Signature(commit=HEAD, trust=Trust.BAD, reason=text)],
        locks=held,
        requirements=[Requirement(name=text, met=False, message=text, who=text, have=(text,))],
        ahead=[Ahead(name=text, number=1, reason=text, opens_at=AT)],
        answers=[Answer(author=text, command=text, text=text, at=AT), Answer(author=text, command=text, text=f"{text}\n{text}", at=AT)],
        commands=[(text, "do it")],
        conflicts=[text], failure=text, outcome=Outcome(applied=Applied.FAILED, text=text), untrusted=Untrusted(left_out=[text], who=text, command=text),
    )  # fmt: skip


OPEN = Shows(observed_values=True, names=True)
CASES: Mapping[str, Callable[[], Said]] = {
    **{f"merged-{applied.value}": partial(merged, applied) for applied in Applied},
    "small": small,
    "many-hosts": many_hosts,
    "destructive": lost,
    "destructive-many": lambda: lost(1000),
    "grants": grants,
    "beside": beside,
    "beside-opted-in": lambda: beside(OPEN),
    "guard-refuses": refused,
    "policy-refuses": refused_by_policy,
    "approvals": approvals,
    "approvals-opted-in": lambda: approvals(OPEN),
    "locks": locked,
    "locks-opted-in": lambda: locked(OPEN),
    "gates": gated,
    "gates-opted-in": lambda: gated(OPEN),
    "fork": fork,
    "conflict": conflict,
    "problems": problems,
    "warnings": warned,
    "failure": failed,
    "pending": pending,
    "unknown": unknown,
    "unknown-opted-in": lambda: unknown(OPEN),
    "boot-files": boot_files,
    "nothing": nothing,
    "secret": secret,
    "too-long-diffs": lambda: distinct(120, 20, beside_too=5),
    "too-long-rows": lambda: distinct(400, 8, beside_too=5),
    "too-long-dropped": lambda: distinct(900, 8, beside_too=300),
    "hostile": lambda: hostile(" ".join(NAMES)),
}
