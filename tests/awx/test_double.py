"""The double against an independent client, awxkit; and doctor against the double."""

import importlib.util
from pathlib import Path

from reconciler.cli.doctor_awx import awx_findings
from reconciler.cli.finding import FAILED, OK, WARNING
from reconciler.drivers.ansible.awx_objects import INJECTORS, INPUTS, TYPE
from reconciler.settings import Ansible, AnsibleProvider
from tests.awx.world import awx_world
from tests.conftest import missing
from tests.peers.awx.double import served


def test_awxkit_launches_and_follows_a_job_of_the_double(tmp_path: Path) -> None:
    if importlib.util.find_spec("awxkit") is None:
        missing("awxkit", "pip install awxkit")
    import awxkit
    from awxkit import config, utils

    with awx_world(tmp_path) as world:
        world.tasks("- ansible.builtin.ping:")
        world.host("a")
        world.apply()
        config.base_url, config.use_sessions = world.way.url, False
        config.credentials = utils.PseudoNamespace({"default": {"username": "", "password": ""}})
        api = awxkit.api.Api()
        api.connection.login(token=world.awx.token)
        template = (
            api.get().available_versions.v2.get().job_templates.get(name=f"octofleet shop web/site.yml of {world.repository}").results[0]
        )
        inventory = next(iter(world.awx.things["inventories"]))
        job = template.launch({"limit": "a", "inventory": inventory, "scm_branch": world.commit(), "job_type": "check"})
        job.wait_until_completed(interval=0.1, timeout=60)
        assert (job.status, job.limit) == ("successful", "a")
        assert "playbook_on_stats" in [event.event for event in job.related.job_events.get(page_size=200).results]


def test_doctor_says_what_is_missing_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken-of-awx")
    with served(tmp_path) as (awx, url):

        def found(**changes: object) -> tuple[str, str]:
            values = {"tenants": ["*"], "type": "awx", "url": url, "token_file": str(token), "organization": "Default"} | changes
            one = next(iter(awx_findings(Ansible(providers={"tower": AnsibleProvider(**values)}))))  # type: ignore[arg-type]
            return one.status, one.found

        assert found()[0] == WARNING
        awx.add("credential_types", name=TYPE, inputs=INPUTS, injectors=INJECTORS)
        assert found() == (OK, f"24.6.1 at {url}, organization Default")
        assert found(organization="Other")[0] == FAILED
        assert "'machine'" in found(credentials=["machine"])[1]
        token.write_text("wrong")
        assert "does not know the token" in found()[1]
