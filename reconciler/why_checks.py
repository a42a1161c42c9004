"""How a Fleet's drift schedule stands, and why no check begins."""

from reconciler.gate.drift import Schedule, schedule_of
from reconciler.gate.windows import opens, window_of
from reconciler.report.view import counted
from reconciler.store.engine import Connection
from reconciler.store.host_checks import next_due
from reconciler.store.records import fleet_in_force, in_force
from reconciler.types.duration import utc


def checks_in_words(connection: Connection, source: str) -> str:
    """How the schedule stands; empty without one."""
    schedule = schedule_of(fleet_in_force(connection, source))
    if schedule is None:
        return ""
    now = connection.now()
    due, number = next_due(connection, source, now)
    if due is None:
        return "no host is in the drift schedule yet"
    if not number:
        return f"the next host is checked for drift at {utc(due)}"
    why = shut(connection, source, schedule, now) or "they are checked as the budget lets them be"
    return f"{counted(number, 'host')} due to be checked for drift: {why}"


def shut(connection: Connection, source: str, schedule: Schedule, now: float) -> str:
    """Why no check may begin now; empty if one may. A window that is not in force keeps all: what it would have said is not known."""
    if schedule.window:
        spec = in_force(connection, source, "maintenancewindow").get(schedule.window)
        if spec is None:
            return f"the Fleet's drift schedule names the window {schedule.window}, which is not in force"
        if (closed := opens(window_of(schedule.window, spec), now)) is not None:
            return closed.reason
    if schedule.times is not None and opens(schedule.times, now) is not None:
        return "the times of the Fleet's drift schedule are not on"
    return ""
