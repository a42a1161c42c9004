"""`make ha`: start the cluster of docs/deploy on this machine's loopback, run the scenario, and end with a verdict.

`--keep` leaves the directory with the logs behind.
"""

import argparse
import shutil
import sys
import time

from reconciler.errors import OctofleetError
from tests.ha.applying import applying
from tests.ha.scenario import Figure, scenario
from tests.ha.topology import PROGRAMS, Cluster


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.ha", description=__doc__)
    arguments.add_argument("--keep", action="store_true", help="leave the directory with the logs behind")
    arguments.add_argument("--hosts", type=int, default=2000, help="how many simulated hosts to apply")
    keep, hosts = (parsed := arguments.parse_args()).keep, parsed.hosts
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    try:
        _check()
        say("starting etcd, two PostgreSQL nodes under Patroni, and HAProxy")
        with Cluster(keep=keep) as cluster:
            say(f"{cluster.primary()} is primary, {cluster.standby()} its synchronous standby; logs are in {cluster.directory}")
            started = Figure("until the cluster was whole", f"{time.monotonic() - began:.1f} s")
            figures = (started, *scenario(cluster, say))
            applied = applying(cluster, say, hosts)
        say("everything stopped")
    except (OctofleetError, AssertionError) as error:
        print(f"\n{error}", *getattr(error, "__notes__", ()), "\nmake ha: FAILED", sep="\n", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nmake ha: interrupted; everything stopped", flush=True)
        return 130
    for title, part in (("the database", figures), ("the apply", applied)):
        width = max(len(figure.what) for figure in part)
        print(f"\n{title}", *(f"  {figure.what:<{width}}  {figure.value}" for figure in part), sep="\n")
    print("\nmake ha: passed: a worker, a server and the primary died; every change ended once, and nothing that was acknowledged is lost")
    return 0


def _check() -> None:
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        raise OctofleetError("programs are missing on this machine", hint=f"sudo apt-get install {' '.join(missing)}")


if __name__ == "__main__":
    sys.exit(main())
