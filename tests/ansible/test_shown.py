"""How a plan of many hosts is shown: tasks grouped over hosts, blind spots named, secrets hidden; as text, Markdown, HTML and on a pull request."""

from pathlib import Path

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.planning import make_plan
from reconciler.report.as_html import plan_html
from reconciler.report.markdown import plan_markdown
from reconciler.report.text import plan_lines
from reconciler.types.request import Request
from reconciler.viewing import viewing
from tests.ansible.lab import Lab
from tests.ansible.site import Site, play, role
from tests.drivers.ansible_world import need_ansible
from tests.fleets import installation
from tests.webhooks.cases import pull
from webhooks.comment import comment
from webhooks.said import Said, Shows

TASKS = """
- name: Blind
  command: "true"
- name: Motd
  copy: {content: "One for all\\n", dest: /etc/motd}
- name: Hidden
  copy: {content: "hide-me-5512\\n", dest: /etc/hidden}
  no_log: true
- name: Really
  shell: "date >/run/really"
  check_mode: false
  changed_when: false
  when: inventory_hostname == 'node-04'
"""
FLAG = "Really (web/site.yml:11): check_mode: false: it really runs, also while planning"


def test_a_plan_of_many_hosts_reads_as_one(tmp_path: Path) -> None:
    need_ansible()
    with Lab(tmp_path / "lab", hosts=4) as lab, lab.inside.entered():
        made = Site(
            lab=lab, path=tmp_path, files={"role.yaml": role("web", "{playbook: web/site.yml, become: true}"), "web/site.yml": play(TASKS)}
        )
        own = installation(made.data, AnsibleDriver(lab.settings))
        repository = own.repository(str(made.repo.path))
        planned = make_plan(own, repository, Request())
        assert lab[4].has("/run/really") and not lab[3].has("/run/really")
        with viewing(own, repository, planned) as view:
            shows = Shows(observed_values=True)
            texts = {
                "text": "\n".join(line.text for line in plan_lines(view)),
                "markdown": plan_markdown(view),
                "html": plan_html(view).decode(),
                "comment": comment(Said(pull=pull(), base="b" * 40, merged="c" * 40, view=view, shows=shows)),
                "public": comment(Said(pull=pull(), base="b" * 40, merged="c" * 40, view=view)),
            }
    for name, text in texts.items():
        assert FLAG in text.replace("&#39;", "'"), name
        assert "check mode does not run a command" in text, name
        assert "hide-me-5512" not in text, name
    assert "3 with the same 5 changes: host/shop/node-01, host/shop/node-02, host/shop/node-03" in texts["text"]
    assert texts["text"].index(FLAG) < texts["text"].index(
        "check mode does not run a command", texts["text"].index("host/shop/node-04:")
    ), "first"
    assert "3 hosts, the same 5 changes, shown for" in texts["comment"] and "3 hosts, the same 5 changes, shown for" in texts["markdown"]
    assert "+One for all" in texts["comment"] and "GNU/Linux" not in texts["public"], "what stands on hosts is not for everybody"
