"""From the events of a run to what happened on each host, task by task.

In: ansible-runner's events, one by one, as they come. Out: a `Story` for each host. Texts are cleaned (secrets and temporary paths out)
before anything is kept, and only what is told is kept: changes, failures, blind spots. What a run says of a host at its end
(`playbook_on_stats`) is held against what was seen, because a censored event does not say whether it changed anything. Must not: decide
what a story means; `verdict.py` does.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible.blind import read_banner, skip_reason, unforeseen
from reconciler.drivers.ansible.facts import Met
from reconciler.drivers.ansible.fields import HIDDEN, Clean, Piece, bounded, cleaned, hides_mode, pieces
from reconciler.drivers.ansible.stream import Endless, plain, plain_file
from reconciler.drivers.ansible.telling import Telling, times
from reconciler.types.canonical import canonical
from reconciler.types.task import TaskTold

MESSAGE_LIMIT, NAME_LIMIT, PLACE_LIMIT = 1000, 300, 1000
OUTPUT_LIMIT = 100
MOST_TASKS, MOST_STRANGERS, MOST_KEPT = 100_000, 1000, 512 << 20
"""Of one run: tasks, hosts that it adds itself, and bytes of what is kept of hosts. Runs that have more are broken off."""
OBJECT_BYTES = 300
"""A result, or a piece, without its texts."""
MOST_HIDDEN = 1000
"""So many changes of a host that no event shows are told."""
MOST_BYTES = 4 << 20
"""Of a playbook that is looked at for a task's name."""
_LINE = re.compile(r"[1-9][0-9]{0,6}")
_UNKEPT = re.compile("[\x00\ud800-\udfff]")
"""What databases do not take."""
_TEMPORARY = re.compile(r"(?<![^\s\"'])[^\s\"']*/ansible-(?:tmp|local)-[^/\s]+/(?:tmp[^/\s]+/)?")
_CHANGED = re.compile(r"^changed: \[", re.MULTILINE)


class Ended(StrEnum):
    """How one task ended on one host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    IGNORED = "ignored"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One task on one host. `where` is a file and line of the repository; `blind` says what the preview could not foresee; `partly`: it failed, and an item of
    its loop had changed something."""

    name: str
    where: str
    ended: Ended
    changed: bool = False
    message: str = ""
    pieces: tuple[Piece, ...] = ()
    blind: tuple[str, ...] = ()
    partly: bool = False

    @property
    def size(self) -> int:
        """About how many bytes it keeps that no other result has."""
        texts = (side for piece in self.pieces for side in (piece.before, piece.after, piece.diff, piece.item))
        return OBJECT_BYTES * (1 + len(self.pieces)) + len(self.message) + sum(len(str(text)) for text in texts)


@dataclass(slots=True, kw_only=True)
class Story:
    """One host in one run. `failed` and `dark` are the run's own count at its end; None: it did not get so far.

    `results`: of a real run without those that others follow and that only say `ok`. `complete`: the host was still there after the last play.
    """

    results: list[Result] = field(default_factory=list)
    failed: bool | None = None
    dark: bool | None = None
    complete: bool = False


@dataclass(slots=True, kw_only=True)
class Listener:
    """Hears a run. `project` is where it was exported to, `told_as` its path in the repository; `wrapper` is the
    playbook that tells who came to the end, None where nobody tells: then the order of tasks and failures does, in doubt not; `log` gets a line for each
    change and failure; `telling` every task of a host that ended.
    """

    hosts: Collection[str]
    project: Path
    told_as: str
    check: bool
    redact: Clean
    wrapper: Path | None
    log: Callable[[str], None] = lambda line: None
    telling: Telling | None = None
    stories: dict[str, Story] = field(init=False)
    met: Met = field(init=False)
    output: list[str] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    finished: bool = False
    marked: bool = False
    _order: dict[str, int] = field(default_factory=dict)
    _reached: dict[str, int] = field(default_factory=dict)
    _fell: int = -1
    _real: dict[str, bool] = field(default_factory=dict)
    _names: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _places: dict[str, str] = field(default_factory=dict)
    _items: dict[tuple[str, str], list[Result]] = field(default_factory=dict)
    _kept: int = 0

    def __post_init__(self) -> None:
        self.stories = {host: Story() for host in self.hosts}
        self.met = Met(hosts=self.hosts, clean=self._clean)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event; unknown ones are passed over, and so are those of a form that no run tells. Raises Endless."""
        kind, data = str(event.get("event", "")), plain(event.get("event_data"))
        text = str(event.get("stdout") or "")
        data = data if isinstance(data, dict) else {}
        if kind == "playbook_on_stats":
            self._stats(data)
        elif kind in ("verbose", "error", "warning", "system_warning"):
            self.told(text)
        elif kind.startswith(("runner_on_", "runner_item_on_", "playbook_on_task_start")) and _is_id(data.get("task_uuid")):
            self._task_event(kind, data, text)

    def told(self, text: str) -> None:
        """What was said of the run as a whole."""
        self.output += self._clean(text).splitlines()[: max(0, OUTPUT_LIMIT - len(self.output))]

    def _last_task(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "runner_on_ok":
            res = data.get("res")
            told = res.get("msg") if isinstance(res, Mapping) else ()
            for host in self.stories.keys() & {name for name in (told if isinstance(told, list) else ()) if isinstance(name, str)}:
                self.stories[host].complete = True

    def _task_event(self, kind: str, data: Mapping[str, Any], text: str) -> None:
        self.met.hear(kind, data)
        if self.wrapper is not None and str(data.get("task_path", "")).startswith(f"{self.wrapper}:"):
            self._last_task(kind, data)
            return
        real = read_banner(text)
        if real is not None:
            self._real[data["task_uuid"]] = real
            self.marked = self.marked or not real
        if kind == "playbook_on_task_start" and self.telling is not None:
            self.telling.begun(self._name(data), self._where(data)[:NAME_LIMIT])
        host, _, word = str(data.get("host", "")), *kind.rpartition("_on_")[1:]
        ended = {"ok": Ended.OK, "failed": Ended.FAILED, "skipped": Ended.SKIPPED, "unreachable": Ended.UNREACHABLE}.get(word)
        if data["task_uuid"] not in self._order:
            self._new(self._order)
        place = self._order.setdefault(data["task_uuid"], len(self._order))
        if ended is None or not host:
            return
        self._reached[host] = max(place, self._reached.get(host, -1))
        if ended is Ended.UNREACHABLE or (ended is Ended.FAILED and not data.get("ignore_errors")):
            self._fell = max(place, self._fell)
        result = self._result(ended, data, text)
        if host not in self.stories:
            self.strangers |= {host[:NAME_LIMIT]} if result.changed and len(self.strangers) < MOST_STRANGERS else set()
        elif kind.startswith("runner_item_on_"):
            self._items.setdefault((host, data["task_uuid"]), []).append(result)
            self._count(result.size)
        else:
            items = self._items.pop((host, data["task_uuid"]), [])
            whole = _joined(result, items)
            self._count(-sum(item.size for item in items))
            self._keep(self.stories[host].results, whole)
            self._tell(host, whole, data)

    def _new(self, known: Mapping[Any, Any]) -> None:
        if len(known) >= MOST_TASKS:
            raise self._endless("tasks")

    def _endless(self, what: str) -> Endless:
        self.told(f"it was broken off: it told of more {what} than are kept of one run")
        return Endless()

    def _keep(self, results: list[Result], whole: Result) -> None:
        if not self.check and results and results[-1].ended in (Ended.OK, Ended.SKIPPED):
            self._count(-results.pop().size)
        results.append(whole)
        self._count(whole.size)

    def _count(self, size: int) -> None:
        self._kept += size
        if self._kept > MOST_KEPT:
            raise self._endless("results")

    def close(self) -> None:
        """The run is over, however: what items of loops did that did not come to their end is kept, too."""
        left, self._items = self._items, {}
        for (host, _), items in left.items():
            self.stories[host].results.append(_joined(replace(items[-1], pieces=()), items))  # their sizes are counted already

    def _result(self, ended: Ended, data: Mapping[str, Any], text: str) -> Result:
        told = data.get("res")
        res = told if isinstance(told, Mapping) else {}
        hidden = "censored" in res or (not res and ended is not Ended.SKIPPED)
        changed = bool(_CHANGED.search(text)) if hidden else res.get("changed") is True
        if ended is Ended.FAILED and data.get("ignore_errors"):
            ended = Ended.IGNORED
        if ended is Ended.OK and changed:
            ended = Ended.CHANGED
        return Result(
            name=self._name(data),
            where=self._where(data),
            ended=ended,
            changed=changed,
            message=self._message(res) if ended in (Ended.FAILED, Ended.IGNORED, Ended.UNREACHABLE) else "",
            pieces=pieces(res, self._clean, _item(res, self._clean)) if changed else (),
            blind=self._blind(ended, data, res, text) if self.check else (),
        )

    def _blind(self, ended: Ended, data: Mapping[str, Any], res: Mapping[str, Any], text: str) -> tuple[str, ...]:
        action = str(data.get("resolved_action") or data.get("task_action") or "")
        found = []
        if ended is Ended.SKIPPED:
            found.append(skip_reason(action, res, text))
        elif self._real.get(data["task_uuid"]):
            found.append(unforeseen(action))
        elif str(res.get("msg", "")).startswith("Command would have run"):
            found.append("what its command does is not foreseen")
        if ended is Ended.CHANGED and hides_mode(res):
            found.append("its content changes, and a change of mode or owner does not show beside that")
        return tuple(filter(None, found))

    def _message(self, res: Mapping[str, Any]) -> str:
        if "censored" in res:
            return HIDDEN
        told = [res.get("msg"), *[res[name] for name in ("stderr", "module_stderr", "module_stdout") if res.get(name)][:1]]
        text = ": ".join(str(part).strip() for part in told if part)
        return _shortened(self._clean(text)) or "no message"

    def _tell(self, host: str, result: Result, data: Mapping[str, Any]) -> None:
        if self.telling is not None:
            at, seconds = times(data, time.time())
            task = TaskTold(
                tenant=self.telling.tenant,
                host=host,
                name=result.name,
                place=result.where[:NAME_LIMIT],
                status=result.ended.value,
                at=at,
                seconds=seconds,
                message=result.message,
            )
            self.telling.ended(host, task)
        if result.changed or result.ended in (Ended.FAILED, Ended.IGNORED, Ended.UNREACHABLE):
            word = result.ended if result.ended is not Ended.IGNORED else "failed, ignored"
            self.log(f"{host}: {result.name} ({result.where}): {word}{': ' + result.message if result.message else ''}")

    def _stats(self, data: Mapping[str, Any]) -> None:
        self.finished = True
        failures, dark, processed, changed = (_counts(data.get(name)) for name in ("failures", "dark", "processed", "changed"))
        if self.wrapper is None:
            lost = any(failures.values()) or any(dark.values())
            for host, story in self.stories.items():
                story.complete = host in processed and (not lost or self._reached.get(host, -1) > self._fell)
        for host, story in self.stories.items():
            story.failed, story.dark = bool(failures.get(host)), bool(dark.get(host))
            unseen = min(MOST_HIDDEN, changed.get(host, 0) - sum(result.changed for result in story.results))
            if unseen > 0:
                piece = Piece(what="change", before=HIDDEN, after=HIDDEN)
                hidden = Result(name="(hidden)", where=self.told_as, ended=Ended.CHANGED, changed=True, pieces=(piece,) * unseen)
                story.results.append(hidden)
                if self.telling is not None:
                    self.telling.hidden(host, unseen)

    def _name(self, data: Mapping[str, Any]) -> str:
        """Role and name. A templated name is told as it is written: Ansible fills it in for whichever host of the batch comes first."""
        path, task, role = _path(data), str(data.get("task", "")), str(data.get("role") or "")
        key = (path[:PLACE_LIMIT], task[:PLACE_LIMIT], role[:PLACE_LIMIT])
        if key not in self._names:
            self._new(self._names)
            name = self._clean(self._written_name(path) or task)
            self._names[key] = (f"{self._clean(role)} : {name}" if role else name)[:NAME_LIMIT]
        return self._names[key]

    def _written_name(self, task_path: str) -> str:
        path, _, line = task_path.rpartition(":")
        if not _LINE.fullmatch(line) or not Path(path).is_relative_to(self.project):
            return ""
        try:
            lines = plain_file(self.project, Path(path).relative_to(self.project), MOST_BYTES).decode(errors="replace").splitlines()
        except (OSError, ValueError):
            return ""
        return _templated_name(lines[int(line) - 1]) if int(line) <= len(lines) else ""

    def _where(self, data: Mapping[str, Any]) -> str:
        place = _path(data)
        key = place[:PLACE_LIMIT]
        if key not in self._places:
            self._new(self._places)
            self._places[key] = self._clean(place)[:PLACE_LIMIT]
        return self._places[key]

    def _clean(self, text: str) -> str:
        """Secrets out; our directories as paths of the repository; other temporary ones out."""
        if "/" in text:
            text = text.replace(f"{self.project}/", f"{self.told_as}/" if self.told_as else "")
            text = text.replace(str(self.project), self.told_as or ".")
            text = _TEMPORARY.sub("", text).replace(f"{self.project.parent}/", "")
        return _UNKEPT.sub("\ufffd", self.redact(text))


def _templated_name(line: str) -> str:
    """What a line `- name: ...` of YAML says, if it is a template; not over several lines, and without comments."""
    text = line.strip().removeprefix("-").lstrip()
    if not text.startswith("name:") or "{{" not in text:
        return ""
    name = text.removeprefix("name:").strip()
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return name[1:-1] if quoted else name


def _path(data: Mapping[str, Any]) -> str:
    """Where a task stands: a file and a line, or its playbook."""
    return str(data.get("task_path") or data.get("playbook") or "")


def _is_id(told: object) -> bool:
    return isinstance(told, str) and len(told) <= NAME_LIMIT


def _counts(told: object) -> dict[str, int]:
    """By host."""
    return {host: count for host, count in told.items() if isinstance(count, int)} if isinstance(told, dict) else {}


def _item(res: Mapping[str, Any], clean: Clean) -> str:
    """The label of one item of a loop, or nothing."""
    name = res.get("ansible_loop_var")
    if not isinstance(name, str):
        return ""
    label = res.get("_ansible_item_label", res.get(name))
    text = label if isinstance(label, str) else canonical(cleaned(label, clean)).decode()
    return bounded(clean(text), 200) or "(empty)"


def _shortened(text: str) -> str:
    """A message's beginning and end, which is where errors stand; without the frames that ssh paints."""
    text = "\n".join(line for line in text.splitlines() if line.strip("@ ")).strip()
    half = MESSAGE_LIMIT // 2
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:half]} (...) {text[-half:]}"


def _joined(whole: Result, items: Sequence[Result]) -> Result:
    """A loop's own result with what its items told; nothing is added where there was no loop."""
    if not items:
        return whole
    changed = whole.changed or any(item.changed for item in items)
    ended = Ended.CHANGED if changed and whole.ended is Ended.OK else whole.ended
    messages = [item.message for item in items if item.ended in (Ended.FAILED, Ended.IGNORED, Ended.UNREACHABLE)]
    return replace(
        whole,
        ended=ended,
        changed=changed,
        message=messages[-1] if messages else whole.message,
        pieces=tuple(piece for item in items for piece in item.pieces) or whole.pieces,
        blind=tuple(dict.fromkeys(text for item in items for text in item.blind)),
        partly=ended is Ended.FAILED and any(item.changed and item.ended is not Ended.FAILED for item in items),
    )


def keyed(results: Sequence[Result]) -> list[tuple[str, Result]]:
    """A key for each task of a host, the same in every run: its name; with its place, then a number, where the name is not one task's."""
    places: dict[str, set[str]] = {}
    for result in results:
        places.setdefault(result.name, set()).add(result.where)
    seen: Counter[str] = Counter()
    found = []
    for result in results:
        key = result.name if len(places[result.name]) == 1 else f"{result.name} ({result.where})"
        seen[key] += 1
        found.append((key if seen[key] == 1 else f"{key} #{seen[key]}", result))
    return found
