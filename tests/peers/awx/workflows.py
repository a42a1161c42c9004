"""Workflow job templates and workflow jobs of the double: they walk their nodes by success, failure and always."""

import json
import threading
import time
from typing import Any

Thing = dict[str, Any]
OPEN = ("new", "pending", "waiting", "running")
ASKED = {"credentials": "credential", "job_tags": "tags", "extra_vars": "variables"}


def ignored_of(template: Thing, body: Thing, names: tuple[str, ...]) -> Thing:
    return {key: body[key] for key in names if key in body and not template.get(f"ask_{ASKED.get(key, key)}_on_launch")}


class Workflows:
    """What the double does of them. The rest of it is in `double`."""

    things: dict[str, dict[int, Thing]]
    nodes: dict[int, list[Thing]]
    threads: list[threading.Thread]
    canceled: set[int]
    lock: threading.RLock

    def add(self, kind: str, /, **values: Any) -> Thing:
        raise NotImplementedError

    def launch(self, template: Thing, body: Thing) -> Thing:
        raise NotImplementedError

    def end(self, job: Thing, status: str, explanation: str = "") -> None:
        raise NotImplementedError

    def workflow(self, name: str, *nodes: Thing, **asks: bool) -> Thing:
        """A workflow job template with these nodes, which lead on by their places in `success`, `failure` and `always`. `runs`: a template; none: an
        approval, which `approved` says yes to or not."""
        asked = {f"ask_{what}_on_launch": True for what in ("inventory", "limit", "variables")} | asks
        made = self.add("workflow_job_templates", name=name, organization=next(iter(self.things["organizations"])), **asked)
        for node in nodes:
            runs = node.get("runs") or {}
            kind = {"job_template": "job", "workflow_job_template": "workflow_job", "project": "project_update"}.get(runs.get("type", ""))
            one = self.add("workflow_job_template_nodes", workflow_job_template=made["id"], unified_job_template=runs.get("id"), said=node)
            one["summary_fields"] = {"unified_job_template": {"id": runs.get("id"), "unified_job_type": kind or "workflow_approval"}}
        return made

    def template_nodes(self, workflow: int) -> list[Thing]:
        return [one for one in self.things["workflow_job_template_nodes"].values() if one["workflow_job_template"] == workflow]

    def launch_workflow(self, template: Thing, body: Thing) -> Thing:
        ignored = ignored_of(template, body, ("inventory", "limit", "scm_branch", "job_tags", "extra_vars"))
        taken = {key: value for key, value in body.items() if key not in ignored}
        made = self.add(
            "workflow_jobs", name=template["name"], status="new", workflow_job_template=template["id"], failed=False, finished=None,
            job_explanation="", result_traceback="", elapsed=2.5, inventory=taken.get("inventory"), limit=taken.get("limit", ""),
            extra_vars=json.dumps(taken.get("extra_vars") or {}),
        )  # fmt: skip
        self.nodes[made["id"]] = []
        thread = threading.Thread(target=self._walk, args=(made, self.template_nodes(template["id"]), taken), daemon=True)
        self.threads.append(thread)
        thread.start()
        return made | {"workflow_job": made["id"], "ignored_fields": ignored}

    def _walk(self, whole: Thing, nodes: list[Thing], taken: Thing) -> None:
        whole["status"] = "running"
        led = {place for node in nodes for way in ("success", "failure", "always") for place in node["said"].get(way, ())}
        ready, unhandled = [place for place in range(len(nodes)) if place not in led], []
        while ready and whole["id"] not in self.canceled:
            node = nodes[ready.pop(0)]
            status = self._node(whole, node, taken)
            said = node["said"]
            ways = ("success", "always") if status == "successful" else ("failure", "always")
            led_on = [place for way in ways for place in said.get(way, ())]
            if status != "successful" and not led_on:
                unhandled.append((node["id"], status))
            ready += led_on
        if whole["id"] in self.canceled:
            return self.end(whole, "canceled")
        text = f"No error handling path for workflow job node(s) {unhandled}" if unhandled else ""
        return self.end(whole, "failed" if unhandled else "successful", text)

    def _node(self, whole: Thing, node: Thing, taken: Thing) -> str:
        """Its job has what the workflow gives, so far as its template asks for it; variables in any case."""
        said, runs = node["said"], node["said"].get("runs")
        if runs is None:
            status = "successful" if said.get("approved") else "failed"
            self._spawned(whole, {"id": 0, "type": "workflow_approval", "status": status})
            return status
        given = said.get("prompts", {}) | {key: value for key, value in taken.items() if key != "extra_vars"}
        with self.lock:
            if runs["type"] == "workflow_job_template":
                made = self.launch_workflow(runs, given | {"extra_vars": taken.get("extra_vars") or {}})
            else:
                made = self.launch(runs, given | {"extra_vars": taken.get("extra_vars") or {}})
        job = self.things["workflow_jobs" if "workflow_job" in made else "jobs"][made["id"]]
        self._spawned(whole, job)
        while job["status"] in OPEN:
            if whole["id"] in self.canceled:
                self.canceled.add(job["id"])
            time.sleep(0.02)
        return str(job["status"])

    def _spawned(self, whole: Thing, job: Thing) -> None:
        number = len(self.nodes[whole["id"]]) + 1
        fields = {"job": {key: job[key] for key in ("id", "type", "status")}}
        self.nodes[whole["id"]].append({"id": number, "type": "workflow_job_node", "job": job["id"], "summary_fields": fields})
