"""Which process takes up work next, with PostgreSQL: procrastinate's queue. Needs the extra `octofleet[postgresql]`.

A job is leave to take one batch of steps. Which steps these are is decided in the journal when it is taken up, so that a job which is lost, doubled or
late does no harm: as many are kept waiting as there are batches to take. Jobs of a process that died are made ready again by whoever notices.
"""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from threading import Event

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from reconciler.apply.worker import MOST_AT_ONCE, Worker
from reconciler.events import Repeated, happened
from reconciler.store.engine import Store
from reconciler.store.leases import due, next_due
from reconciler.store.postgresql import settings_of

NOW, LATER = "octofleet-now", "octofleet-later"
MOST_JOBS = 32
TICK_S = 1.0


class Jobs:
    """`run` is a thread's work; `wake` may be called by any thread."""

    def __init__(self, store: Store, worker: Worker, *, concurrency: int = 4) -> None:
        self._store, self._worker, self._concurrency = store, worker, concurrency
        connector = procrastinate.PsycopgConnector(kwargs=settings_of(store.url), min_size=1, max_size=4, timeout=5.0)
        self._app = procrastinate.App(connector=connector)
        self._app.task(name="octofleet.take", queue=NOW)(self._take)
        self._trouble = Repeated()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None

    def run(self, stop: Event) -> None:
        """Take up jobs until told to stop; a database that is away is waited for."""
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        asyncio.run(self._until(stop))

    def wake(self) -> None:
        """There may be something to do."""
        if self._loop is not None and self._woken is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    async def _until(self, stop: Event) -> None:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        while not stop.is_set():
            try:
                async with self._app.open_async():
                    await self._schema()
                    await self._work(stop)
            except Exception as error:  # noqa: BLE001 - whatever the queue meets, the journal is what counts: go on
                self._trouble.happened("queue-away", error=type(error).__name__)
                await asyncio.sleep(TICK_S)

    async def _schema(self) -> None:
        """Make the queue's tables; one process at a time, and only where there are none."""
        if not await self._app.check_connection_async():
            with self._store.write():
                if not await self._app.check_connection_async():
                    await self._app.schema_manager.apply_schema_async()

    async def _work(self, stop: Event) -> None:
        lease_s = self._worker.terms.lease_s
        working = asyncio.create_task(
            self._app.run_worker_async(
                queues=[NOW, LATER],
                name=self._worker.row.name,
                concurrency=self._concurrency,
                install_signal_handlers=False,
                delete_jobs="always",
                fetch_job_polling_interval=TICK_S,
                update_heartbeat_interval=lease_s / 3,
                stalled_worker_timeout=lease_s,
                shutdown_graceful_timeout=1.0,
            )
        )
        try:
            while not stop.is_set() and not working.done():
                await self._replenish()
                await self._sweep(lease_s)
                await self._pause()
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def _pause(self) -> None:
        woken = self._woken or asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), TICK_S)
        woken.clear()

    async def _take(self) -> None:
        """One job: take a batch, and see the first of its steps to its rest, as there is room then for the next. Without room for one, the job is
        put off, for anybody who has."""
        futures = await asyncio.to_thread(self._worker.take)
        if futures:
            await asyncio.wait(map(asyncio.wrap_future, futures), return_when=asyncio.FIRST_COMPLETED)
            await self._replenish()
        elif (await asyncio.to_thread(self._ahead))[0]:
            await self._later(time.time() + TICK_S)

    async def _replenish(self) -> None:
        """Have a job waiting for each batch that can be taken, and one for when the next can be."""
        number, at = await asyncio.to_thread(self._ahead)
        if at is not None:
            await self._later(at)
        if number:
            found = await self._app.job_manager.list_queues_async(queue=NOW)
            missing = min(-(-number // MOST_AT_ONCE), MOST_JOBS) - sum(queue["todo"] for queue in found)
            if missing > 0:
                await self._app.configure_task("octofleet.take", queue=NOW).batch_defer_async(*[{} for _ in range(missing)])

    def _ahead(self) -> tuple[int, float | None]:
        """How many steps can be taken now, or when the next can be."""
        with self._store.read() as connection:
            number = due(connection, MOST_AT_ONCE * MOST_JOBS)
            return number, None if number else next_due(connection)

    async def _later(self, at: float) -> None:
        """A job for that time, if there is none yet."""
        when = datetime.fromtimestamp(at, UTC)
        task = self._app.configure_task("octofleet.take", queue=LATER, schedule_at=when, queueing_lock=f"octofleet-{int(at)}")
        with contextlib.suppress(AlreadyEnqueued):
            await task.defer_async()

    async def _sweep(self, lease_s: float) -> None:
        """Make jobs of processes that are gone ready again."""
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=lease_s):
            with contextlib.suppress(ConnectorException):  # another process was first
                await manager.retry_job(job, retry_at=datetime.now(UTC))
                happened("job-taken-over", job=job.id)
