"""The execs that there are, in memory and written through to the store.

They go with their container's exit, as dockerd's do; `execs` is the service on top.
"""

from __future__ import annotations

import asyncio
import time

from ..errors import Internal, NotFound
from ..store import Store
from ..times import SECOND_NS
from .container import Container
from .record import ExecRecord

START_LIMIT_S = 10.0
ASKED_FOR_S = 5
"""How long the CLI may take to ask for the exit code of an exec that ended with its container."""
KEPT_NS = 300 * SECOND_NS
"""How long the exit code of an exec can be asked for while its container runs on."""


class ExecRecords:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table("execs", ExecRecord)
        self._records: dict[str, ExecRecord] = {}
        self._ids_of: dict[str, set[str]] = {}
        self._settled: dict[str, asyncio.Event] = {}

    def load(self) -> None:
        """Read what an earlier daemon wrote."""
        for _, record in self._table.all():
            self._keep(record)

    def get(self, exec_id: str) -> ExecRecord:
        record = self._records.get(exec_id)
        if record is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return record

    def of(self, container: Container) -> list[ExecRecord]:
        return [self._records[exec_id] for exec_id in self._ids_of.get(container.id, ())]

    def live_ids(self, container: Container) -> list[str]:
        """The execs that run or can still be started: `ExecIDs` of inspect."""
        return sorted(record.id for record in self.of(container) if record.exit_code is None)

    def add(self, container: Container, record: ExecRecord) -> None:
        """Keep a new one, and forget those of the container that ended long ago."""
        oldest_ns = time.time_ns() - KEPT_NS
        self._forget([old for old in self.of(container) if old.exit_code is not None and old.ended_ns < oldest_ns])
        self.save(record)
        self._keep(record)

    def save(self, record: ExecRecord) -> None:
        self._table.put(record.id, record)

    async def wait_started(self, record: ExecRecord) -> None:
        """Wait until the exec was started, or could not be; terminals are resized before they are there."""
        if record.pid == 0 and record.exit_code is None:
            settled = self._settled.setdefault(record.id, asyncio.Event())
            try:
                await asyncio.wait_for(settled.wait(), START_LIMIT_S)
            except TimeoutError:
                raise Internal("timeout waiting for exec session ready") from None

    def set_started(self, record: ExecRecord, pid: int) -> None:
        record.pid = pid
        self._settle(record)
        if record.exit_code is None and record.id in self._records:
            self.save(record)

    def set_ended(self, record: ExecRecord, exit_code: int) -> None:
        record.running, record.exit_code, record.ended_ns = False, exit_code, time.time_ns()
        self._settle(record)
        if record.id in self._records:
            self.save(record)

    def forget_all(self, container: Container) -> None:
        """The container has stopped: its execs are no more, but for those whose clients may just ask how they ended."""
        newest_ns = time.time_ns() - ASKED_FOR_S * SECOND_NS
        asked_for = [
            record for record in self.of(container) if record.exit_code is not None and record.ended_ns > newest_ns
        ]
        self._forget([record for record in self.of(container) if record not in asked_for])
        if asked_for:
            asyncio.get_running_loop().call_later(ASKED_FOR_S, self._forget, asked_for)

    def _keep(self, record: ExecRecord) -> None:
        self._records[record.id] = record
        self._ids_of.setdefault(record.container_id, set()).add(record.id)

    def _settle(self, record: ExecRecord) -> None:
        if settled := self._settled.pop(record.id, None):
            settled.set()

    def _forget(self, records: list[ExecRecord]) -> None:
        if not records:
            return
        with self._store.transaction():
            for record in records:
                self._table.delete(record.id)
        for record in records:
            self._records.pop(record.id, None)
            self._settle(record)
            ids = self._ids_of.get(record.container_id, set())
            ids.discard(record.id)
            if not ids:
                self._ids_of.pop(record.container_id, None)
