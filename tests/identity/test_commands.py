"""Every command asks: who may not is refused with the reason and who can help, and past it there is only a broken glass, which is told."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import click
import pytest

from reconciler.beginning import begin, find
from reconciler.cli import remote
from reconciler.cli.main import COMMANDS, REMOTE, cli
from reconciler.cli.permission import ACTIONS
from reconciler.identity.access import NEEDS, Role
from reconciler.identity.local import whoami
from reconciler.server.routes import ROUTES
from reconciler.wiring import open_installation
from tests.cli.command import quick
from tests.fleets import Repo, Result, fleet, host, repo

LAB = "apiVersion: octofleet/v1\nkind: Tenant\nmetadata: {name: lab}\nspec: {}\n"
WORDS = {"approve", "reject"}
"""A broken glass stands for no approval."""
ROUTE = {
    "plan": "makePlan", "apply": "applyPlan", "status": "getStatus", "runs": "listRuns", "logs": "getRunLog", "tasks": "listTasks", "approve": "approvePlan",
    "reject": "rejectPlan", "pause": "pauseRun", "resume": "resumeRun", "cancel": "cancelRun",
    "facts": "listHostsByFact", "installs": "installAgain", "adopt": "adoptGeneration", "inventory": "getInventory",
}  # fmt: skip
"""What `octofleet --server` asks for at last."""
ASKING = sorted(name for name, action in ACTIONS.items() if NEEDS[action].role not in (None, Role.VIEWER))


def mapping(name: str, *bindings: tuple[str, str], tenant: str = "", scopes: str = "") -> str:
    """A RoleMapping of roles and subjects."""
    metadata = f"{{name: {name}, tenant: {tenant}}}" if tenant else f"{{name: {name}}}"
    lines = [f'    - role: {role}\n      subjects: ["{who}"]\n{scopes}' for role, who in bindings]
    return f"apiVersion: octofleet/v1\nkind: RoleMapping\nmetadata: {metadata}\nspec:\n  bindings:\n" + "".join(lines)


def files(*mine: tuple[str, str]) -> dict[str, str]:
    """Two tenants; somebody else rules, and the user of this process has roles by tenant (empty: every tenant)."""
    found = fleet(hosts=1, lab=LAB, bench=host("bench-01", 50, tenant="lab"), rules=mapping("rules", ("super-admin", "local:ruler")))
    for number, (role, tenant) in enumerate(mine):
        found[f"mine-{number}.yaml"] = mapping(f"mine-{number}", (role, whoami()), tenant=tenant)
    return found


class Fleet:
    """A fleet that was applied, and the command on it."""

    def __init__(self, root: Path, *mine: tuple[str, str]) -> None:
        self.data, self.repo = root / "data", repo(root / "repo", files(*mine))
        first = self("apply", "--approve", *self.where)
        assert first.code == 0, first.text

    @property
    def where(self) -> tuple[str, str]:
        return "--repo", str(self.repo.path)

    def __call__(self, *args: str) -> Result:
        return quick(self.data, *args)

    def change(self, tenant: str) -> None:
        """A commit that changes the host of a tenant."""
        name, spec = ("web-01", 1) if tenant == "shop" else ("bench-01", 50)
        file = "host-1.yaml" if tenant == "shop" else "bench.yaml"
        self.repo.commit({file: host(name, spec, tenant=tenant, spec="  timezone: Europe/Oslo\n")})

    def open_run(self) -> str:
        """A run of the working commit that nobody works on."""
        plan = self("plan", *self.where, "--json").json["id"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OCTOFLEET_MEMORY__ENABLED", "true")
            installation = open_installation(self.data)
        try:
            return begin(installation, find(installation, plan), approved=True)
        finally:
            installation.close()


def forbidden(result: Result) -> str:
    """The message of a refusal."""
    assert (result.code, result.json["error"]["code"]) == (1, "forbidden"), result.text
    return str(result.json["error"]["message"])


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_is_an_action() -> None:
    assert {name.split()[0] for name, _ in commands(cli)} == set(ACTIONS) == set(COMMANDS)


def test_what_a_server_is_asked_for_is_the_same_action() -> None:
    """The server asks the rules, not the command: tests/cli/test_remote.py has each, tests/server/test_guard.py every route. So none of them breaks a glass."""
    actions = {route.name: route.action for route in ROUTES}
    assert set(ROUTE) == REMOTE and {name: actions[route] for name, route in ROUTE.items()} == {name: ACTIONS[name] for name in REMOTE}
    assert not [name for name in REMOTE for option in getattr(remote, name).params if option.name == "break_glass"]


def test_just_the_commands_that_need_more_than_looking_have_a_glass_to_break() -> None:
    breakable = sorted(name for name, command in commands(cli) if any(p.name == "break_glass" for p in command.params))
    whole, parts = (
        {*ASKING} - WORDS,
        {group: [name for name in breakable if name.startswith(f"{group} ")] for group in ("account", "token")},
    )
    assert parts == {
        "account": ["account add", "account disable", "account enable", "account reset"],
        "token": ["token create", "token revoke"],
    }
    assert sorted(name.split()[0] for name in breakable if name.split()[0] not in parts) == sorted(whole - {*parts})


def arguments(name: str, made: Fleet) -> Sequence[str]:
    """What a command needs to have something to do."""
    match name:
        case "apply":
            made.change("shop")
            return "--approve", *made.where
        case "run":
            return "ops/restart.yml", "--on", "host/shop/web-01", "--no-check", "--dry-run", *made.where
        case "drift":
            next(iter(sorted((made.data / "boot" / "shop").rglob("user-data")))).write_text("by hand\n")
            assert made("drift").code == 2
            return "--heal", "--approve"
        case "pause" | "cancel" | "resume":
            made.change("shop")
            return made.open_run(), *(() if name == "resume" else ("--reason", "why"))
        case "forget":
            return "host/shop/web-01", "--reason", "why"
        case "installs" | "adopt":
            return "host/shop/web-01", *(("--again",) if name == "installs" else ()), "--reason", "why"
        case "backup" | "restore":
            return (str(made.data.parent / "a-backup"),)
        case "reconcile":
            return (str(made.repo.path),)
        case "prune":
            return ()
        case "account":
            return "add", "ben"
        case "token":
            return "create", "ci"
        case "approve" | "reject":
            made.change("shop")
            return made("plan", *made.where, "--json").json["id"], "--reason", "why"
        case "rollback":
            made.change("shop")
            run = made.open_run()
            return run, "--reason", "why"
        case "promote":
            made.change("shop")
            run = made.open_run()
            with closing(sqlite3.connect(made.data / "octofleet.db")) as database, database:
                columns = "run, tenant, track, number, title, first_wave, last_wave, hosts, state, soak_s, promote, max_failures, note"
                values = "?, 'shop', 't', 0, 'all', 0, 9, 1, 'due', 0, 1, 0, ''"
                database.execute(f"INSERT INTO phase ({columns}) VALUES ({values})", (run,))
            return run, "--reason", "why"
        case "override":
            times = '{start: "2001-01-01T00:00", duration: 1h}'
            window = f"apiVersion: octofleet/v1\nkind: MaintenanceWindow\nmetadata: {{name: w}}\nspec: {{times: [{times}]}}\n"
            made.repo.commit({"window.yaml": window})
            assert made("apply", "--approve", *made.where, "--break-glass", "a window").code == 0
            return "w", "--for", "1h", "--reason", "why"
        case "alerts":
            to = "{secretRef: {store: s, key: url}}"
            made.repo.commit(
                {"channel.yaml": f"apiVersion: octofleet/v1\nkind: AlertChannel\nmetadata: {{name: c}}\nspec: {{to: [{to}]}}\n"}
            )
            assert made("apply", "--approve", *made.where, "--break-glass", "a channel").code == 0
            return "test", "c"
    raise AssertionError(f"say how {name} is called")


@pytest.mark.parametrize("name", ASKING)
def test_a_command_refuses_whom_no_mapping_names_and_tells_of_a_broken_glass(name: str, tmp_path: Path) -> None:
    made = Fleet(tmp_path)
    args = arguments(name, made)
    before = made("status", "--json").json
    refused = made(name, *args, "--json")
    message = forbidden(refused)
    assert whoami() in message and f"the role {NEEDS[ACTIONS[name]].role}" in message
    assert "local:ruler" in refused.json["error"]["hint"]
    assert made("status", "--json").json == before
    if name in WORDS:
        assert "--break-glass" not in refused.json["error"]["hint"], "the command has no such option"
        return
    assert "--break-glass" in refused.json["error"]["hint"]
    assert forbidden(made(name, *args, "--json", "--break-glass", " ")) == message, "no reason is no reason"
    gone_on = made(name, *args, "--json", "--break-glass", "the house burns")
    assert "event=break-glass" in gone_on.err and "the house burns" in gone_on.err and whoami() in gone_on.err
    assert not (gone_on.code and gone_on.json.get("error", {}).get("code") == "forbidden")


def test_looking_asks_for_nothing(tmp_path: Path) -> None:
    made = Fleet(tmp_path)
    for args in (("status",), ("runs",), ("plan", *made.where), ("drift",), ("prune", "--dry-run"), ("access",)):
        assert made(*args).code == 0, args


def test_who_may_is_not_told_of_any_glass(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("super-admin", ""))
    made.change("shop")
    applied = made("apply", "--approve", *made.where, "--break-glass", "just in case")
    assert applied.code == 0 and "break-glass" not in applied.err
    assert made("backup", str(tmp_path / "b")).code == 0


def test_a_plan_takes_the_role_in_every_tenant_that_it_touches(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("operator", "shop"))
    made.change("shop")
    made.change("lab")
    plan = made("plan", *made.where, "--json").json["id"]
    for args in (("apply", plan, "--json"), ("apply", *made.where, "--approve", "--json")):
        message = forbidden(made(*args))
        assert "host/lab/bench-01" in message and "in lab" in message
    mine = made("plan", *made.where, "--scope", "tenant/shop", "--json").json["id"]
    assert made("apply", mine, "--json").code == 0
    assert made("plan", *made.where, "--json").json["summary"]["hostsChanged"] == 1


def test_a_run_of_another_tenant_is_not_mine_to_steer(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("operator", "lab"))
    made.change("shop")
    run = made.open_run()
    forbidden(made("pause", run, "--reason", "why", "--json"))
    forbidden(made("apply", "--resume", run, "--json"))
    forbidden(made("apply", *made.where, "--approve", "--json"))


@pytest.mark.parametrize(("also", "code"), [((), 1), ((("approver", "shop"),), 0)])
def test_what_is_lost_takes_an_approver_too(tmp_path: Path, also: tuple[tuple[str, str], ...], code: int) -> None:
    made = Fleet(tmp_path, ("operator", "shop"), ("operator", "lab"), ("viewer", ""), *also)
    made.repo.commit({"host-1.yaml": None})
    done = made("apply", "--approve", *made.where, "--json")
    if code:
        assert "may not approve host/shop/web-01" in forbidden(done)
    else:
        assert done.code == 0 and done.json["complete"], done.text


def test_a_move_takes_the_role_in_both_tenants(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("operator", "shop"))
    moved = host("bench-01", 50, tenant="shop", metadata="  moved: {from: lab/bench-01}\n")
    made.repo.commit({"bench.yaml": moved})
    assert "in lab" in forbidden(made("apply", "--approve", *made.where, "--json"))


def test_nobody_makes_himself_more_than_he_is(tmp_path: Path) -> None:
    """The commit that says so is applied by who may say so."""
    made = Fleet(tmp_path, ("operator", ""), ("admin", "lab"))
    made.repo.commit({"more.yaml": mapping("more", ("admin", whoami()), tenant="shop")})
    assert "may not grant rolemapping/shop/more" in forbidden(made("apply", "--approve", *made.where, "--json"))
    made.repo.commit({"more.yaml": mapping("more", ("super-admin", whoami()))})
    assert "may not grant-across rolemapping/more" in forbidden(made("apply", "--approve", *made.where, "--json"))
    made.repo.commit({"more.yaml": mapping("more", ("approver", whoami()), tenant="lab")})
    assert made("apply", "--approve", *made.where, "--json").code == 0


def test_a_mapping_is_forgotten_by_who_may_grant(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("admin", ""), ("admin", "shop"))
    assert "may not grant-across rolemapping/rules" in forbidden(made("forget", "rolemapping/rules", "--reason", "why", "--json"))
    assert made("forget", "rolemapping/shop/mine-1", "--reason", "why").code == 0


def test_a_mapping_that_cannot_be_read_is_not_as_good_as_none(tmp_path: Path) -> None:
    made = Fleet(tmp_path)
    with sqlite3.connect(made.data / "octofleet.db") as database:
        database.execute("DELETE FROM spec WHERE digest IN (SELECT digest FROM record WHERE address LIKE 'fleet/rolemapping/%')")
    refused = made("backup", str(tmp_path / "b"), "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "damaged-record")


def test_mappings_that_are_gone_are_not_in_force(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("super-admin", ""))
    assert made("apply", "--approve", *made.where).code == 0
    made.repo.commit({"mine-0.yaml": None})
    made.change("shop")
    assert made("apply", "--approve", *made.where).code == 0, "the one that takes the role away is still judged by it"
    made.change("lab")
    forbidden(made("apply", "--approve", *made.where, "--json"))


def test_a_plan_says_who_gains_and_loses_what_and_that_it_is_about_access(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("super-admin", ""))

    def planned(files: dict[str, str | None]) -> tuple[list[str], list[str]]:
        made.repo.commit(dict(files))
        plan = made("plan", *made.where, "--json").json
        assert [change["risk"] for change in plan["changes"]] == [["access"]]
        assert made("apply", "--approve", *made.where).code == 0
        return plan["access"], [change["action"] for change in plan["changes"]]

    file = "team.yaml"
    made.repo.commit({file: mapping("team", ("operator", "local:ben"), tenant="shop")})
    shown = made("plan", *made.where, "--out", str(tmp_path / "plan.md")).out
    assert "### Access (1)\n- **gained**: `local:ben is operator in shop`\n" in (tmp_path / "plan.md").read_text()
    assert "ACCESS (1)\n  + local:ben is operator in shop\n" in shown
    assert planned({}) == (["+ local:ben is operator in shop"], ["create"])
    found = planned({file: mapping("team", ("approver", "local:ben"), tenant="shop")})
    assert found == (["+ local:ben is approver in shop", "- local:ben is operator in shop"], ["update"])
    assert planned({file: None}) == (["- local:ben is approver in shop"], ["delete"])


def test_access_says_who_may_what_by_which_line(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("operator", "shop"))
    said = made("access", "--json").json
    assert said["me"] == whoami() and [fleet["inForce"] for fleet in said["fleets"]] == [True]
    places = {b["subject"]: (b["role"], b["tenant"], b["mapping"], b["origin"]) for b in said["fleets"][0]["bindings"]}
    assert places == {
        "local:ruler": ("super-admin", "", "rolemapping/rules", {"path": "rules.yaml", "line": 7, "column": 18}),
        whoami(): ("operator", "shop", "rolemapping/shop/mine-0", {"path": "mine-0.yaml", "line": 7, "column": 18}),
    }
    decisions = made("access", "me", "--action", "pause", "--json").json["decisions"]
    assert {(d["tenant"], d["allowed"]) for d in decisions} == {("", False), ("shop", True)}
    assert "rolemapping/shop/mine-0 at mine-0.yaml:7:18" in next(d["reason"] for d in decisions if d["allowed"])
    assert [d["allowed"] for d in made("access", "me", "--action", "pause", "--tenant", "lab", "--json").json["decisions"]] == [False]
    assert "local:ruler" not in made("access", "me").out and "mine-0.yaml:7:18" in made("access", "me").out


def test_access_says_what_a_commit_would_change_and_what_is_in_force_until_then(tmp_path: Path) -> None:
    made = Fleet(tmp_path, ("operator", "shop"))
    made.repo.commit({"mine-0.yaml": "# moved down\n" + mapping("mine-0", ("viewer", whoami()), tenant="shop")})
    said = made("access", *made.where, "--json").json
    assert [(b["text"], b["origin"]["line"]) for b in said["changes"]["gained"]] == [(f"{whoami()} is viewer in shop", 8)]
    assert [(b["text"], b["origin"]["line"]) for b in said["changes"]["lost"]] == [(f"{whoami()} is operator in shop", 7)]
    shown = made("access", *made.where).out
    assert f"+ {whoami()} is viewer in shop" in shown and "these are the first" not in shown
    first = quick(tmp_path / "nothing", "access", *made.where).out
    assert "these are the first: whoever they do not name may do nothing from then on" in first
    made.repo.path.rename(made.repo.path.with_name("elsewhere"))
    alone = made("access", "me", "--json").json["fleets"][0]["bindings"]
    assert [(b["role"], b["origin"]) for b in alone] == [("operator", None)], "what is recorded is known without the repository"


def test_validate_warns_who_would_be_locked_out_by_the_first_mappings(tmp_path: Path) -> None:
    """As `access --repo` does, but only whoever is not named; once a RoleMapping is in force it is a change as any other."""
    data, made = tmp_path / "data", repo(tmp_path / "repo", fleet(hosts=1, rules=mapping("rules", ("super-admin", "local:somebody-else"))))
    at = ("--repo", str(made.path))
    found = quick(data, "validate", *at)
    assert found.code == 0 and f"rules.yaml:7:18: warning: no RoleMapping names you, {whoami()}, and these are the first" in found.out
    document = quick(data, "validate", *at, "--json").json
    assert document["valid"] and [(p["code"], p["severity"]) for p in document["problems"]] == [("access-first", "warning")]
    made.commit({"rules.yaml": mapping("rules", ("super-admin", "local:somebody-else"), ("viewer", whoami()))})
    assert "warning" not in quick(data, "validate", *at).out
    assert quick(data, "apply", "--approve", *at).code == 0
    made.commit({"rules.yaml": mapping("rules", ("super-admin", "local:somebody-else"))})
    assert "warning" not in quick(data, "validate", *at).out


def test_access_before_anything_is_in_force(tmp_path: Path) -> None:
    data, made = tmp_path / "data", repo(tmp_path / "repo")
    assert "may do everything" in quick(data, "access").out
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    assert "no RoleMapping is in force" in quick(data, "access").out
    decisions = quick(data, "access", "--action", "apply", "--json").json["decisions"]
    assert [(d["identity"], d["allowed"]) for d in decisions] == [(whoami(), True)]
    assert quick(data, "access", "github:ada", "--action", "apply", "--json").json["decisions"][0]["allowed"] is False


@pytest.mark.parametrize("args", [("nonsense",), ("--action", "fly"), ("--rev", "main")])
def test_access_refuses_what_it_cannot_answer(args: tuple[str, ...], tmp_path: Path) -> None:
    refused = quick(tmp_path / "data", "access", *args, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "usage")


ONE = "apiVersion: octofleet/v1\nkind: RoleMapping\n"
WRONG = {
    "nobody is left": (mapping("a", ("admin", "local:ada")), "access-lockout", 4),
    "nobody but a group": (mapping("a", ("super-admin", "group:ops")), "access-lockout", 4),
    "nobody without tenant": (mapping("a", ("admin", "local:ada"), tenant="shop"), "access-lockout", 4),
    "super-admin of a tenant": (mapping("a", ("super-admin", "local:ada"), tenant="shop"), "schema", 6),
    "people of a tenant": (
        ONE + 'metadata: {name: a, tenant: shop}\nspec:\n  people:\n    - {name: A, identities: ["local:a", "github:a"]}\n',
        "schema",
        5,
    ),
    "no kind of subject": (mapping("a", ("super-admin", "ada")), "schema", 7),
    "no such role": (mapping("a", ("owner", "local:ada")), "schema", 6),
    "no such tenant": (
        mapping("r", ("super-admin", "local:a")) + "---\n" + mapping("a", ("viewer", "local:ada"), tenant="hop"),
        "reference",
        11,
    ),
    "one identity of two": (
        mapping("a", ("super-admin", "local:ada")) + '  people:\n    - name: A\n      identities: ["local:a", "github:a"]\n'
        '    - name: B\n      identities: ["local:b", "github:A"]\n',
        "person-twice",
        12,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mapping_that_cannot_be_meant_is_a_problem_at_its_line(case: str, tmp_path: Path) -> None:
    text, code, line = WRONG[case]
    made: Repo = repo(tmp_path / "repo", fleet(hosts=1, access=text))
    found = quick(tmp_path / "data", "validate", "--repo", str(made.path), "--json")
    assert found.code == 1
    assert [(p["code"], p["path"], p["line"]) for p in found.json["problems"]] == [(code, "access.yaml", line)], found.out


def test_a_commit_that_leaves_no_super_admin_is_not_applied(tmp_path: Path) -> None:
    """Only somebody on the machine could mend it, with a broken glass."""
    data, made = tmp_path / "data", repo(tmp_path / "repo", fleet(hosts=1, access=mapping("a", ("admin", "local:ada"))))
    at = ("--repo", str(made.path))
    applied = quick(data, "apply", "--approve", *at)
    assert applied.code != 0 and "PUT OFF (1), access-lockout" in applied.out
    assert "no RoleMapping is in force" in quick(data, "access").out
    made.commit({"access.yaml": mapping("a", ("super-admin", whoami()))})
    assert quick(data, "apply", "--approve", *at).code == 0
    made.commit({"access.yaml": mapping("a", ("admin", whoami())), "more.yaml": "kind: [nothing that can be read"})
    assert [d["code"] for d in quick(data, "plan", *at, "--json").json["deferred"] if "rolemapping" in d["address"]] == ["access-lockout"]
    made.commit({"access.yaml": None, "more.yaml": None})
    assert quick(data, "apply", "--approve", *at).code == 0, "without any RoleMapping the fleet is open again"
