"""Notes every five minutes how many hosts of each tenant stand how: what the chart of the overview is made of. Whichever process is first does it; the
picture is kept warm by that, so that nobody waits for it when he first asks."""

import time
from threading import Event

from reconciler.errors import OctofleetError
from reconciler.events import Repeated
from reconciler.reading.picture import Picture, State
from reconciler.reading.seen import by_state
from reconciler.reading.watch import watch
from reconciler.store.samples import EVERY_S, Sample, has_sample, save_samples
from reconciler.wiring import Installation

MOST_PAUSE_S = 30.0


class Sampling:
    """`run` is a thread's work."""

    def __init__(self, installation: Installation) -> None:
        self._installation, self._trouble = installation, Repeated()

    def run(self, stop: Event) -> None:
        """Go on until told to stop; a database that is away is waited for."""
        while not stop.is_set():
            try:
                self.once()
            except OctofleetError as error:
                self._trouble.happened("sample-failed", error=error.message)
            stop.wait(min(MOST_PAUSE_S, EVERY_S - time.time() % EVERY_S + 0.1))

    def once(self) -> None:
        """Note how the fleets stand, if nobody has yet in these five minutes."""
        with self._installation.store.read() as connection:
            at = int(connection.now() // EVERY_S * EVERY_S)
            if has_sample(connection, at):
                return
        samples = list(_samples(watch(self._installation).look(), at))
        if samples:
            with self._installation.store.write(alone=False) as connection:
                save_samples(connection, samples)


def _samples(picture: Picture, at: int) -> list[Sample]:
    found: list[Sample] = []
    for (source, tenant), tally in picture.tallies.items():
        converged, changing, drifted, unknown, failed = (by_state(picture.stands, tally)[state] for state in State)
        found.append((at, source, tenant, converged, changing, drifted, unknown, failed))
    return found
