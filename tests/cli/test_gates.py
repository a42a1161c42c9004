"""The commands about gates, and what `status --why` says of what waits."""

from pathlib import Path

from tests.cli.command import quick
from tests.fleets import PROFILE, Repo, Result, fleet, host, repo

WINDOW = """\
apiVersion: octofleet/v1
kind: MaintenanceWindow
metadata: {name: nights, tenant: shop}
spec:
  scopes: ["host/shop/web-02"]
  times: [{start: "2001-01-01T22:00", duration: 4h}]
"""
ENV = {"OCTOFLEET_MEMORY__ENABLED": "true"}


class Site:
    def __init__(self, path: Path, **files: str) -> None:
        self.data, self.repo = path / "data", repo(path / "repo", fleet(hosts=3) | {f"{name}.yaml": text for name, text in files.items()})
        assert self("apply", "--approve", *self.where).code == 0

    @property
    def where(self) -> tuple[str, str]:
        return "--repo", str(self.repo.path)

    def __call__(self, *args: str) -> Result:
        return quick(self.data, *args, env=ENV)

    def change(self, *numbers: int) -> Repo:
        self.repo.commit({f"host-{n}.yaml": host(f"web-{n:02d}", n, spec="  packages: [htop]\n") for n in numbers})
        return self.repo

    def codes(self) -> set[str]:
        (run,) = self("status", "--why", "--json").json["why"]["runs"]
        return {why["code"] for why in run["waiting"]}


def test_a_window_is_listed_waited_for_and_overridden(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert "there is no window" in site("gates").out
    site.repo.commit({"window.yaml": WINDOW})
    assert site("apply", "--approve", *site.where).code == 0
    assert site("gates").out.startswith("window  shop/nights  closed until ")
    (window,) = site("gates", "--json").json["windows"]
    assert window["name"] == "shop/nights" and not window["open"] and window["mode"] == "open"
    site.change(1, 2)
    applied = site("apply", "--approve", *site.where)
    assert applied.code == 3 and "not over: octofleet status --why" in applied.out
    told = site("status", "--why")
    assert "the maintenance window shop/nights is closed" in told.out and "octofleet override shop/nights" in told.out
    assert site.codes() == {"gated"}
    assert site("override", "shop/nights", "--reason", "why").code == 1, "for how long?"
    assert "does not count for 60 min" in site("override", "shop/nights", "--for", "1h", "--reason", "the shop is down").out
    run = site("runs", "--json").json["runs"][0]["run"]
    assert site("resume", run).code == 0
    told = site("audit", "list")
    assert "override" in told.out and "the shop is down" in told.out and site("audit", "verify").code == 0


def test_a_rollout_is_shown_held_and_promoted(tmp_path: Path) -> None:
    site = Site(tmp_path, profile=f"{PROFILE}  rollout: {{canary: 1, promote: canary}}\n")
    site.change(1, 2, 3)
    planned = site("plan", *site.where)
    assert "1. canary: web-01" in planned.out and "2. the rest, when a person promotes it: web-02, web-03" in planned.out
    assert [phase["title"] for phase in site("plan", "--json", *site.where).json["phases"]] == ["canary", "the rest"]
    assert site("apply", "--approve", *site.where).code == 3
    assert site.codes() == {"held"}
    told = site("status", "--why").out
    run = site("runs", "--json").json["runs"][0]["run"]
    assert f"octofleet promote {run} --reason WHY" in told
    promoted = site("promote", run[:-1], "--reason", "all well").out
    assert "the rest of" in promoted and f"next: octofleet resume {run}, as no worker lives" in promoted
    assert site("resume", run).code == 0 and site("plan", *site.where).code == 0
    assert site("promote", run, "--reason", "again").code == 1


def test_what_a_rollout_waits_for_is_told_before_what_waits_behind_it(tmp_path: Path) -> None:
    site = Site(tmp_path, profile=f"{PROFILE}  rollout: {{canary: 1, serial: 1, health: true, promote: canary}}\n")
    site.change(1, 2, 3)
    planned = len(site("plan", "--json", *site.where).json["changes"])
    assert site("apply", "--approve", *site.where).code == 3
    told = site("status", "--why").out
    assert told.count("earlier-phase (") == 1 and 0 < told.index("held (") < told.index("earlier-phase (")
    assert f" of {planned} changes done" in told, "checks change nothing, and are not counted"
    assert "all were last seen as recorded" in told and "tried again now" not in told and "octofleet resume RUN" in told
    run = site("runs", "--json").json["runs"][0]["run"]
    assert site("logs", run).out.endswith(f"running, {planned // 3 * 2} changes to go\n")


def test_a_word_for_a_plan(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.repo.commit({"host-3.yaml": None})
    plan = site("plan", "--json", *site.where).json["id"]
    planned = site("plan", *site.where)
    assert planned.code == 3 and "Verdict: can be applied once it is approved." in planned.out
    assert f"octofleet apply {plan[:12]} --approve" in planned.out, "the word of who asks is all that is missing"
    refused = site("apply", plan)
    assert refused.code == 3 and "must approve" in refused.err and f"octofleet approve {plan[:12]} --reason WHY" in refused.err
    assert "rejected by local:" in site("reject", plan, "--reason", "not today").out
    assert "rejected it (not today)" in site("apply", plan).err
    approved = site("approve", plan[:8], "--reason", "now it is fine").out
    assert "approved by local:" in approved and f"next: octofleet apply {plan[:12]}" in approved
    assert site("apply", plan).code == 0
    actions = site("audit", "list").out
    assert "approve" in actions and "reject" in actions


def test_a_plan_says_whose_word_it_waits_for(tmp_path: Path) -> None:
    rules = "spec:\n  approvals:\n    - {name: the web team, scopes: [host/shop/web-01], people: ['local:cleo']}\n"
    site = Site(tmp_path, fleet=f"apiVersion: octofleet/v1\nkind: Fleet\nmetadata: {{name: test}}\n{rules}")
    site.change(1)
    planned = site("plan", *site.where)
    assert planned.code == 3 and "WAITS FOR APPROVAL" in planned.out and "the web team: local:cleo must approve" in planned.out
    assert "Next: have those who are named look at the plan" in planned.out and "--approve" not in planned.out
    document = site("plan", "--json", *site.where).json
    said = site("approve", document["id"], "--reason", "I am not cleo").out
    assert "still missing: the web team: local:cleo must approve" in said
    assert [(one["rule"], one["people"]) for one in document["approvals"]] == [("the web team", ["local:cleo"])]
    refused = site("apply", "--approve", *site.where)
    assert refused.code == 3 and "waits for approval: the web team" in refused.err and "--approve" not in refused.err


def test_what_has_not_drifted_is_no_word_about_the_commit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.change(1)
    assert "Verdict: nothing has drifted." in site("drift").out


def test_a_broken_glass_goes_past_what_others_have_yet_to_say_and_is_recorded(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.repo.commit({"host-3.yaml": None})
    plan = site("plan", "--json", *site.where).json["id"]
    assert "rejected by local:" in site("reject", plan, "--reason", "not today").out
    assert site("apply", plan, "--break-glass", " ").code == 3, "no reason is no reason"
    gone_on = site("apply", plan, "--break-glass", "the house burns")
    assert gone_on.code == 0 and "event=break-glass" in gone_on.err
    run = site("runs", "--json").json["runs"][0]["run"]
    (told,) = [entry for entry in site("audit", "show", run, "--json").json["entries"] if entry["action"] == "break-glass"]
    assert told["reason"] == "the house burns" and "rejected it (not today)" in told["details"]["denied"] and told["plan"].startswith(plan)


def test_a_pause_of_a_tenant(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert "is paused until" in site("pause", "tenant/shop", "--for", "2h", "--reason", "an audit").out
    assert "pause   tenant/shop  until " in site("gates").out and "ends it" in site("gates").out
    site.change(1)
    assert site("apply", "--approve", *site.where).code == 3 and site.codes() == {"gated"}
    assert "an audit" in site("status", "--why").out
    assert "tenant/shop goes on" in site("resume", "tenant/shop").out
    assert site("apply", "--approve", *site.where).code == 0
    wrong = site("pause", "tenant/shop", "--for", "soon", "--reason", "x")
    assert wrong.code == 1 and "no duration" in wrong.err
