"""A double of AWX 24.6's API, written from its published reference (docs.ansible.com, "Automation Controller API Reference").

It keeps what it is told in memory, answers with AWX's bodies and codes (lists in pages, 400 with fields, 401, 403, 404, 405, 409, 413, 429), walks jobs through
`new`, `pending`, `waiting` and `running`, has events arrive after the status, and runs every job for real: git clones the project at the commit,
ansible-runner runs the playbook on the inventory that it was told. Workflow jobs walk their nodes by success, failure and always.

Checked against the repository ansible/awx (its templates of API pages, its docs/bulk_api.md, filters, serializers, models and settings), facts alone:
bulk hosts (100 at once, 1 MB a request, answers with the inventory's URL); cancel (GET `can_cancel`; POST 202, 405 where it is over); launch of a workflow
(201; prompts of inventory, limit, branch, tags, variables and no credentials; what is not asked for comes back in `ignored_fields`); what a workflow gives
its nodes (its inventory and limit win over a node's, and are passed over in silence by a template that does not ask for them; its variables reach all);
`extra_vars` cannot be filtered by (403); standard output of an event is cut to 1,024 bytes but with `no_truncate`; a result of more than 700,000 bytes
becomes an empty one; names are unique for a kind and organization and have 512 characters; lists do not tell
`event_processing_finished`, and in a fork (Ascender) `extra_vars` only with `include`, which AWX refuses (400); a project that allows to override its branch
takes any playbook; a launch gives credentials beside those of the template.
Not checked: an AWX that runs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.peers.awx.workflows import OPEN, Thing, Workflows, ignored_of

KINDS = (
    "organizations", "projects", "inventories", "hosts", "groups", "job_templates", "credentials", "credential_types", "instance_groups",
    "execution_environments", "jobs", "workflow_job_templates", "workflow_job_template_nodes", "workflow_jobs",
)  # fmt: skip
SINGULAR = {"inventories": "inventory"}
SECRET = "$encrypted$"
RUN_PATH = "/runner/project"
MOST_BYTES, MOST_STDOUT = 1 << 20, 1024
NOT_IN_LISTS = ("job_args", "result_traceback", "event_processing_finished")


class Awx(Workflows):
    """The state of one AWX. `faults`: answers to give in place of the next matching ones. `lag`: how many looks at an ended job say that its events come.
    `brief`: lists of jobs tell `extra_vars` only when asked to.
    `hold`: jobs wait for it before they run. `broken`: an explanation with which jobs end before any event."""

    def __init__(self, root: Path, token: str) -> None:
        self.root, self.token = root, token
        self.things: dict[str, dict[int, Thing]] = {kind: {} for kind in KINDS}
        self.secrets: dict[int, Thing] = {}
        self.members: dict[int, set[int]] = {}
        self.events: dict[int, list[Thing]] = {}
        self.given: dict[int, Thing] = {}
        self.told: list[str] = []
        self.faults: list[tuple[str, int, Thing, bool]] = []
        self.brief = False
        self.lag, self.page, self.broken, self.task_env = 1, 200, "", {"ANSIBLE_CHECK_MODE_MARKERS": "1"}
        self.hold = threading.Event()
        self.hold.set()
        self.canceled: set[int] = set()
        self.lock = threading.RLock()
        self.threads: list[threading.Thread] = []
        self.number = 0
        self.nodes = {}
        self.add("organizations", name="Default")
        self.add("credential_types", name="Vault", namespace="vault", kind="vault", managed=True)

    def add(self, kind: str, /, **values: Any) -> Thing:
        with self.lock:
            self.number += 1
            path = f"/api/v2/{kind}/{self.number}/"
            made = {"id": self.number, "type": SINGULAR.get(kind, kind[:-1]), "url": path, "related": {}, "summary_fields": {}}
            made |= {"created": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())} | values
            if kind == "job_templates":
                made["related"] = {name: f"{path}{name}/" for name in ("launch", "jobs")}
            if kind == "workflow_job_templates":
                made["related"] = {name: f"{path}{name}/" for name in ("launch", "workflow_jobs", "workflow_nodes")}
            self.things[kind][self.number] = made
            return made

    def stored(self) -> str:
        """All that somebody with a view of this AWX may read."""
        return json.dumps([self.things, self.told], default=str)

    # -- jobs

    def launch(self, template: Thing, body: Thing) -> Thing:
        asked = ("limit", "job_type", "inventory", "scm_branch", "diff_mode", "verbosity", "credentials", "instance_groups", "job_tags")
        ignored = ignored_of(template, body, asked)
        job = self.add(
            "jobs", name=template["name"], status="new", job_template=template["id"], failed=False, finished=None, job_explanation="",
            result_traceback="", job_args="", elapsed=1.5, event_processing_finished=False,
            **{key: body[key] for key in asked if key in body and key not in ignored},
        )  # fmt: skip
        job |= {
            "extra_vars": json.dumps(body.get("extra_vars") or {}),
            "job_tags": body.get("job_tags", ""),
            "playbook": template["playbook"],
        }
        job["related"] = {name: f"{job['url']}{name}/" for name in ("stdout", "job_events", "cancel")}
        self.events[job["id"]], self.given[job["id"]] = [], {"lag": self.lag, "become": template.get("become_enabled")}
        project = self.things["projects"][template["project"]]
        hosts = self._inventory(job.get("inventory"))
        extra: Thing = json.loads(job["extra_vars"])
        vaults = {}
        for one in job.get("credentials") or ():
            if "vault_password" in self.secrets.get(one, {}):
                vaults[self.secrets[one]["vault_id"]] = self.secrets[one]["vault_password"]
            kind = self.things["credential_types"].get(self.things["credentials"][one].get("credential_type"), {})
            for name, template_text in (kind.get("injectors") or {}).get("extra_vars", {}).items():
                field = template_text.strip("{} ")
                extra[name] = self.secrets[one][field]
        thread = threading.Thread(target=self._run, args=(job, project, hosts, extra, vaults), daemon=True)
        self.threads.append(thread)
        thread.start()
        return job | {"job": job["id"], "ignored_fields": ignored}

    def _inventory(self, inventory: int | None) -> Thing:
        hosts = {h["name"]: json.loads(h.get("variables") or "{}") for h in self.things["hosts"].values() if h["inventory"] == inventory}
        groups = {
            g["name"]: {"hosts": {self.things["hosts"][h]["name"]: None for h in self.members.get(g["id"], ())}}
            for g in self.things["groups"].values()
            if g["inventory"] == inventory
        }
        return {"all": {"hosts": hosts, "children": groups}}

    def _run(self, job: Thing, project: Thing, inventory: Thing, extra: Thing, vaults: Thing) -> None:
        for status in ("pending", "waiting"):
            job["status"] = status
            time.sleep(0.02)
        while not self.hold.wait(0.05) and job["id"] not in self.canceled:
            pass
        if job["id"] in self.canceled:
            return self.end(job, "canceled")
        job["status"] = "running"
        if self.broken:
            return self.end(job, "error", self.broken)
        directory = Path(tempfile.mkdtemp(dir=self.root))
        for number, password in enumerate(vaults.values()):
            (directory / f"vault{number}").write_text(password)
        self.given[job["id"]]["vaults"] = [f"{name}@{directory}/vault{number}" for number, name in enumerate(vaults)]
        try:
            self._play(job, project, inventory, extra, directory)
        except Exception as error:  # noqa: BLE001 - whatever the double stumbles over is a job in error, as in AWX
            self.end(job, "error", f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _play(self, job: Thing, project: Thing, inventory: Thing, extra: Thing, directory: Path) -> None:
        import ansible_runner  # type: ignore[import-untyped]

        where = directory / "project"
        for command in (
            ["git", "clone", "-q", project["scm_url"], str(where)],
            ["git", "-C", str(where), "checkout", "-q", job.get("scm_branch") or "HEAD"],
        ):
            subprocess.run(command, check=True, capture_output=True)
        marked = [f"{name}: {'!unsafe ' if isinstance(value, str) else ''}{json.dumps(value)}" for name, value in extra.items()]
        (directory / "extra.yml").write_text(("\n".join(marked) or "{}") + "\n")

        def hear(event: Thing) -> bool:
            text = json.dumps(event).replace(str(where), RUN_PATH)
            self.events[job["id"]].append(json.loads(text) | {"id": len(self.events[job["id"]]) + 1, "type": "job_event"})
            return False

        flags = (
            f"-e @{directory / 'extra.yml'}"
            + (" --diff" if job.get("diff_mode") else "")
            + (" --check" if job.get("job_type") == "check" else "")
            + "".join(f" --vault-id {said}" for said in self.given[job["id"]]["vaults"])
        )
        run = ansible_runner.run(
            private_data_dir=str(directory), playbook=job["playbook"], inventory=inventory, limit=job.get("limit") or None,
            verbosity=job.get("verbosity") or None,
            tags=job["job_tags"] or None, cmdline=flags, event_handler=hear, quiet=True,
            envvars={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | self.task_env,
            settings={"pexpect_timeout": 0.2},
            cancel_callback=lambda: job["id"] in self.canceled,
        )  # fmt: skip
        self.end(job, "canceled" if job["id"] in self.canceled else "successful" if run.rc == 0 else "failed")

    def end(self, job: Thing, status: str, explanation: str = "") -> None:
        with self.lock:
            job |= {"status": status, "failed": status != "successful", "job_explanation": explanation, "finished": "2026-01-01T00:00:00Z"}

    def shown(self, job: Thing) -> Thing:
        """Its events come in after its end: a while it says so."""
        with self.lock:
            given = self.given[job["id"]]
            if job["status"] not in OPEN:
                given["lag"] -= 1
                job["event_processing_finished"] = given["lag"] < 0
            return dict(job)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    awx: Awx

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, code: int, body: object) -> None:
        raw = json.dumps(body).encode() if code != 204 else b""
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        if code == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(raw)

    def _do(self) -> None:
        awx, split = self.awx, urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body, query = json.loads(raw or b"{}"), dict(parse_qsl(split.query))
        said = f"{self.command} {split.path}"
        awx.told.append(said)
        if split.path == "/api/":
            return self._answer(
                200, {"description": "AWX REST API", "current_version": "/api/v2/", "available_versions": {"v2": "/api/v2/"}}
            )
        if self.headers.get("Authorization") != f"Bearer {awx.token}":
            return self._answer(
                401, {"detail": "Authentication credentials were not provided. To establish a login session, visit /api/login/."}
            )
        for fault in list(awx.faults):
            if re.fullmatch(fault[0], said):
                awx.faults.remove(fault)
                if fault[3]:
                    self._routed(split.path, query, body)
                return self._answer(fault[1], fault[2])
        if any(key.partition("__")[0] == "extra_vars" for key in query):
            return self._answer(403, {"detail": "Filtering on extra_vars is not allowed."})
        if "include" in query and not awx.brief:
            return self._answer(400, {"detail": "Job has no field named 'include'"})
        code, answer = self._routed(split.path, query, body)
        return self._answer(code, answer)

    do_GET = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _do

    def _routed(self, path: str, query: Thing, body: Thing) -> tuple[int, object]:
        awx = self.awx
        parts = path.removeprefix("/api/v2/").strip("/").split("/")
        if parts == [""]:
            return 200, {kind: f"/api/v2/{kind}/" for kind in (*KINDS, "me", "config", "ping")}
        if parts in (["ping"], ["config"]):
            return 200, {"version": "24.6.1"}
        if parts == ["me"]:
            return 200, self._page(
                [{"id": 1, "type": "user", "url": "/api/v2/users/1/", "username": "octofleet", "related": {}, "summary_fields": {}}], query
            )
        if parts == ["bulk", "host_create"]:
            if len(json.dumps(body)) > MOST_BYTES:
                return 413, {}
            if len(body["hosts"]) > 100:
                return 400, {"hosts": ["Number of hosts exceeds system setting BULK_HOST_MAX_CREATE of 100"]}
            where = f"/api/v2/inventories/{body['inventory']}/"
            made = [awx.add("hosts", enabled=True, inventory=body["inventory"], **host) for host in body["hosts"]]
            return 201, {"url": f"{where}hosts/", "hosts": [host | {"inventory": where} for host in made]}
        things = awx.things.get(parts[0])
        if things is None:
            return 404, {"detail": "The requested resource could not be found."}
        if len(parts) == 1:
            return self._list(parts[0], things, query, body)
        thing = things.get(int(parts[1]))
        if thing is None:
            return 404, {"detail": "Not found."}
        return self._one(parts[0], thing, body) if len(parts) == 2 else self._below(parts[0], thing, parts[2], query, body)

    def _list(self, kind: str, things: dict[int, Thing], query: Thing, body: Thing) -> tuple[int, object]:
        if self.command == "GET":
            return 200, self._page(list(things.values()), query)
        if len(body["name"]) > 512:
            return 400, {"name": ["Ensure this field has no more than 512 characters."]}
        if any(self._place(one) == self._place(body) for one in things.values()):
            return 400, {"__all__": [f"{kind} with this Name and Organization already exists."]}
        values = dict(body)
        secret = values.pop("inputs", None) if kind == "credentials" else None
        made = self.awx.add(kind, **values)
        if secret is not None:
            self.awx.secrets[made["id"]] = secret
            made["inputs"] = dict.fromkeys(secret, SECRET)
        if kind == "projects":
            made["status"] = "successful"
        return 201, made

    def _place(self, one: Thing) -> tuple[object, ...]:
        """What may be there once. A job template's organization is that of its project."""
        owner = self.awx.things["projects"].get(one.get("project", 0), one)
        return one["name"], owner.get("organization"), one.get("inventory")

    def _one(self, kind: str, thing: Thing, body: Thing) -> tuple[int, object]:
        if self.command == "DELETE":
            del self.awx.things[kind][thing["id"]]
            self.awx.secrets.pop(thing["id"], None)
            for below in ("hosts", "groups") if kind == "inventories" else ():
                gone = [number for number, one in self.awx.things[below].items() if one["inventory"] == thing["id"]]
                for number in gone:
                    del self.awx.things[below][number]
            return (202 if kind == "inventories" else 204), {}
        if self.command == "PATCH":
            thing |= body
        return 200, self.awx.shown(thing) if kind == "jobs" else thing

    def _below(self, kind: str, thing: Thing, name: str, query: Thing, body: Thing) -> tuple[int, object]:
        awx, get = self.awx, self.command == "GET"
        if (kind, name) == ("job_templates", "launch"):
            if get:
                return 200, {"ask_variables_on_launch": True, "ask_limit_on_launch": True, "can_start_without_user_input": True}
            with awx.lock:
                return 201, awx.launch(thing, body)
        if (kind, name) == ("workflow_job_templates", "launch"):
            with awx.lock:
                return 201, awx.launch_workflow(thing, body)
        if (kind, name) == ("workflow_job_templates", "workflow_jobs"):
            mine = [job for job in awx.things["workflow_jobs"].values() if job["workflow_job_template"] == thing["id"]]
            return 200, self._page(mine, query)
        if name == "workflow_nodes":
            return 200, self._page(awx.nodes[thing["id"]] if kind == "workflow_jobs" else awx.template_nodes(thing["id"]), query)
        if (kind, name) == ("job_templates", "jobs"):
            return 200, self._page([job for job in awx.things["jobs"].values() if job["job_template"] == thing["id"]], query)
        if (kind, name) == ("jobs", "job_events"):
            whole = "no_truncate" in query
            events = awx.events[thing["id"]]
            return 200, self._page([e if whole else e | {"stdout": e.get("stdout", "")[:MOST_STDOUT]} for e in events], query)
        if (kind, name) == ("jobs", "stdout"):
            return 200, {
                "range": {"start": 0, "end": 1, "absolute_end": 1},
                "content": "\n".join(e["stdout"] for e in awx.events[thing["id"]]),
            }
        if kind in ("jobs", "workflow_jobs") and name == "cancel":
            able = thing["status"] in OPEN
            if get:
                return 200, {"can_cancel": able}
            if not able:
                return 405, {"detail": 'Method "POST" not allowed.'}
            awx.canceled.add(thing["id"])
            return 202, {}
        if (kind, name) == ("inventories", "hosts") and not get:
            return 201, awx.add("hosts", enabled=True, inventory=thing["id"], **body)
        if kind == "inventories":
            return 200, self._page([one for one in awx.things[name].values() if one["inventory"] == thing["id"]], query)
        if (kind, name) == ("groups", "hosts"):
            members = awx.members.setdefault(thing["id"], set())
            if get:
                return 200, self._page([awx.things["hosts"][number] for number in sorted(members)], query)
            members.symmetric_difference_update({body["id"]} if bool(body.get("disassociate")) == (body["id"] in members) else set())
            return 204, {}
        return 404, {"detail": "The requested resource could not be found."}

    def _page(self, found: list[Thing], query: Thing) -> Thing:
        tests: dict[str, Callable[[Any, str], bool]] = {
            "": lambda value, text: str(value) == text,
            "exact": lambda value, text: str(value) == text,
            "in": lambda value, text: str(value) in text.split(","),
            "startswith": lambda value, text: str(value).startswith(text),
            "lt": lambda value, text: str(value) < text,
        }
        size, page = min(int(query.pop("page_size", 25)), self.awx.page), int(query.pop("page", 1))
        order = query.pop("order_by", "id")
        query.pop("no_truncate", None)
        included = query.pop("include", "") == "extra_vars"
        for key, text in query.items():
            field, _, how = key.partition("__")
            found = [one for one in found if tests[how](one.get(field), text)]
        found = sorted(found, key=lambda one: one[order.lstrip("-")], reverse=order.startswith("-"))
        left_out = (*NOT_IN_LISTS, *(["extra_vars"] if self.awx.brief and not included else []))
        part = [{key: one[key] for key in one if key not in left_out} for one in found[(page - 1) * size : page * size]]
        more = f"/api/v2/?page={page + 1}" if page * size < len(found) else None
        return {"count": len(found), "next": more, "previous": None, "results": part}


@contextmanager
def served(root: Path, token: str = "t0ken-of-awx") -> Iterator[tuple[Awx, str]]:
    """A double that listens on loopback, and its URL."""
    awx = Awx(root, token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"awx": awx}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield awx, f"http://127.0.0.1:{server.server_port}"
    finally:
        awx.canceled |= set(awx.things["jobs"]) | set(awx.things["workflow_jobs"])
        for thread in awx.threads:
            thread.join(30)
        server.shutdown()
        server.server_close()
