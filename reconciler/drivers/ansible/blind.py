"""Which tasks check mode cannot foresee, read from what Ansible prints.

In: a task's banner, the text of a skipped task. Out: a reason for people, or nothing. ansible-runner's event of a skipped task has no
result, so the run is made with `-v`, which prints it, and with check mode markers in banners. Must not: take a task that a condition
skips for a blind spot.
"""

import re
from collections.abc import Mapping
from typing import Any

COMMANDS = frozenset({"command", "shell", "raw", "script", "win_command", "win_shell", "expect"})
READ_ONLY = frozenset(
    {"add_host", "assert", "debug", "fail", "gather_facts", "getent", "group_by", "include_role", "include_tasks", "include_vars", "meta"}
    | {"package_facts", "ping", "service_facts", "set_fact", "set_stats", "setup", "slurp", "stat", "validate_argument_spec", "wait_for"}
    | {"wait_for_connection"}
)
"""Modules that change nothing on a host wherever they run."""
REALLY_RUNS = "check_mode: false: it really runs, also while planning"

_BANNER = re.compile(r"^(?:TASK|RUNNING HANDLER) \[.*?\](?P<mark> \[CHECK MODE\])? \*{3,}\s*$", re.MULTILINE)
_CONDITION = re.compile(r'"(?:skip_reason|skipped_reason|false_condition)":')
_FALSE = re.compile(r'"false_condition": "(?:[^"\\]|\\.)*\bansible_check_mode\b')


def read_banner(text: str) -> bool | None:
    """Whether the task that the banner announces really runs though the playbook is only checked; None where there is no banner."""
    found = _BANNER.search(text)
    return None if found is None else found["mark"] is None


def skip_reason(action: str, result: Mapping[str, Any], text: str) -> str:
    """Why a skipped task is a blind spot; nothing if a condition skipped it."""
    if _FALSE.search(text) or "ansible_check_mode" in str(result.get("false_condition", "")):
        return "it is skipped because this is check mode"
    if _CONDITION.search(text) or "skip_reason" in result or "skipped_reason" in result:
        return ""
    name = _short(action)
    if name in COMMANDS:
        return f"check mode does not run a {name}"
    if "censored" in result or '"censored":' in text or "=> " not in text:
        return ""
    return f"the module {action} does not support check mode"


def unforeseen(action: str) -> str:
    """What to say of a task with `check_mode: false`."""
    return "" if _short(action) in READ_ONLY else REALLY_RUNS


def _short(action: str) -> str:
    return action.rpartition(".")[2]
