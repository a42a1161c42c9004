"""Faults of the product itself, one at a time: each makes it break a promise, and the histories have to find every one."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

MOST_HISTORIES = 1500


@dataclass(frozen=True, slots=True)
class Mutant:
    """A text of a file below `reconciler` that is replaced."""

    name: str
    file: str
    old: str
    new: str

    @property
    def text(self) -> str:
        """The file as it is."""
        return (ROOT / "reconciler" / self.file).read_text()


MUTANTS = (
    Mutant("no fence check", "store/journal.py", "found is None or found.fence != entry.lease.fence", "found is None"),
    Mutant("a lease taken away keeps its fence", "store/leases.py", "UPDATE step SET owner = '', fence = fence + 1 WHERE",
           "UPDATE step SET owner = '' WHERE"),
    Mutant("begins without looking", "apply/attempt.py", "self._end(self._check(driver, addresses, context))",
           "self._end(self._check(driver, addresses, context) if self.begun else {})"),
    Mutant("resumes without looking", "apply/attempt.py", "self._end(self._check(driver, addresses, context))",
           "self._end({} if self.begun else self._check(driver, addresses, context))"),
    Mutant("a lane counts twice", "store/journal.py", "SET open = open - column5", "SET open = open - 2 * column5"),
    Mutant("a step ends with its first change", "store/journal.py", "item.step = seq AND status = ''", "item.step = seq AND status = 'none'"),
    Mutant("ignores the wave", "store/phases.py", "            return ahead == wave\n", "            return ahead <= wave\n"),
    Mutant("begins though the run is stopped", "store/journal.py", '        return found.run_state\n', '        return ""\n'),
    Mutant("begins behind a closed gate", "store/journal.py", '"gated" if entry.lease in closed else', '"gated" if False else'),
    Mutant("gates never loaded again", "store/gates.py", "        if found != known[0]:\n", "        if not known[0]:\n"),
    Mutant("a hold goes with its change", "store/journal.py", "    back_off(connection, {",
           "    connection.run_in('DELETE FROM hold WHERE address IN (...)', sorted(statuses))\n    back_off(connection, {"),
    Mutant("a hold stays", "store/runs.py", '    connection.run("DELETE FROM hold WHERE run = ?", (run_id,))\n', ""),
    Mutant("trusts what the driver says", "apply/attempt.py", "status is Status.DONE and not self._at_end(address, found)", "False"),
    Mutant("does not wait for what it needs", "apply/attempt.py", "unmet = {address: found for", "unmet = {address: found for _ in () for"),
    Mutant("takes an interrupted step for stale", "apply/attempt.py", "elif not self.begun and self._moved_on(", "elif self._moved_on("),
    Mutant("never stale", "apply/attempt.py", "elif not self.begun and self._moved_on(", "elif False and self._moved_on("),
    Mutant("resumes without a look at its lease", "apply/attempt.py", "        self.journal.write(Begun(lease=self.lease, source",
           "        self.begun or self.journal.write(Begun(lease=self.lease, source"),
    Mutant("a checkpoint hides the former", "apply/attempt.py",
           "        self.operations.add(operation)\n", "        self.operations = {operation}\n"),
    Mutant("does not ask about operations", "apply/attempt.py", "for operation in sorted(self.operations):", "for operation in ():"),
    Mutant("pausing brings a cancelled run back", "store/halt.py", "SET state = 'paused' WHERE id = ? AND state IN ('running', 'paused')",
           "SET state = 'paused' WHERE id = ? AND ended_at IS NULL"),
    Mutant("no driver limits", "store/leases.py", "            self._drivers[driver] += number\n", ""),
    Mutant("no tenant limit", "store/leases.py", "            self.tenants[tenant] += number\n", ""),
    Mutant("more calls than a driver takes", "apply/worker.py", "name: places - busy[name]", "name: places"),
    Mutant("a lease never ends by time", "store/leases.py", "(overdue and worker.until < now) or gone(worker.id)", "gone(worker.id)"),
    Mutant("lets go of nothing that nobody works on", "apply/worker.py", 'free(connection, stray, "handed-over", connection.now())', "pass"),
    Mutant("does not wait for what may show up", "apply/attempt.py", "        self._wait_until_settled(driver)\n", ""),
    Mutant("the settle time counts from the first call", "apply/task.py", "max(at, cut.get(task.step.seq, at))", "at"),
    Mutant("each clock counts", "apply/attempt.py", "self.now() - self.task.quiet_s", "self.step.started_at"),
    Mutant("what is written twice counts twice", "store/journal.py", " and standing[entry.lease.key].owner]", "]"),
    Mutant("takes for written what was lost", "apply/journal.py",
           "                self._away(error)\n", '                return [""] * len(entries)\n'),
    Mutant("records nothing of what is done", "apply/attempt.py", "records=[*(self._recorded(a, outcomes[a]) for a in done if a not in removed), ",
           "records=["),
    Mutant("gives leases to whom it does not know", "store/leases.py",
           'connection.row("SELECT id FROM worker WHERE id = ? FOR KEY SHARE", (worker,)) is None', "False"),
    Mutant("cancels what has begun", "store/halt.py", "\"state = 'ready' AND owner = ''\"", "\"state <> 'ended'\""),
    Mutant("supersedes what has begun", "store/halt.py", ' if step.state == "ready" and not step.owner]', "]"),
    Mutant("superseded steps stay open", "store/halt.py", "fence=0) for seq in touched], now)", "fence=0) for seq in ()], now)"),
    Mutant("an older run takes the commit back", "store/journal.py", " and not _overtaken(connection, source, started_at)", ""),
    Mutant("a run never ends", "store/journal.py", "        close_if_over(connection, run, now)\n", ""),
    Mutant("takes steps that somebody has", "store/leases.py", "AND owner = '' AND state <> 'ended'\"", "AND state <> 'ended'\""),
    Mutant("a driver that exits keeps its step", "apply/attempt.py", "except (Exception, SystemExit) as error:", "except Exception as error:"),
    Mutant("spins over what it cannot take", "apply/worker.py", "next_due(connection, run, self._looked_at)", "next_due(connection, run)"),
    Mutant("sleeps through the end of a pause", "store/journal.py", "entry.judged not in (None, newest)", "entry.judged is not None is newest"),
)  # fmt: skip

SCRIPT = """
import sys
from tests.simulation.history import replay
for seed in range(int(sys.argv[1])):
    broken, _ = replay(seed)
    if broken:
        print(f"{seed + 1} {broken}"[:160])
        break
"""


def found(mutant: Mutant, directory: Path) -> str:
    """After how many histories the mutant is found, and how; empty if it is not."""
    package = directory / "reconciler"
    shutil.copytree(ROOT / "reconciler", package, ignore=shutil.ignore_patterns("__pycache__", "example_repo"))
    for name in ("tests", "renderers", "schemas"):
        (directory / name).symlink_to(ROOT / name)
    (package / mutant.file).write_text(mutant.text.replace(mutant.old, mutant.new))
    env = os.environ | {"PYTHONPATH": str(directory)}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(MOST_HISTORIES)], cwd=directory, env=env, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or told.stderr.strip()[-160:]
