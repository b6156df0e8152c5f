"""Records that outlive the daemon: one SQLite file in WAL mode, one table a kind, each row a JSON document by its key.

Services keep their objects in memory and write through; a table is read whole at start. `transaction` makes several
writes one. Commits survive a killed daemon; the last ones before a power cut may be lost whole, never in part.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Table(Generic[T]):
    """The records of one kind, keyed by id or name."""

    def __init__(self, store: Store, name: str, record_type: type[T]) -> None:
        self._store, self._name = store, name
        self._decoder = msgspec.json.Decoder(record_type)
        store.execute(f"CREATE TABLE IF NOT EXISTS {name} (key TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID")

    def put(self, key: str, record: T) -> None:
        self._store.execute(f"INSERT OR REPLACE INTO {self._name} VALUES (?, ?)", key, msgspec.json.encode(record))

    def get(self, key: str) -> T | None:
        for (blob,) in self._store.execute(f"SELECT record FROM {self._name} WHERE key = ?", key):
            return self._decoder.decode(blob)
        return None

    def delete(self, key: str) -> None:
        self._store.execute(f"DELETE FROM {self._name} WHERE key = ?", key)

    def all(self) -> Iterator[tuple[str, T]]:
        rows: list[tuple[str, bytes]] = self._store.execute(f"SELECT key, record FROM {self._name}").fetchall()
        for key, blob in rows:
            yield key, self._decoder.decode(blob)


class Store:
    """The database. Used from the event loop's thread alone."""

    def __init__(self, path: Path) -> None:
        self._journal = Path(f"{path}-wal")
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._depth = 0

    def table(self, name: str, record_type: type[T]) -> Table[T]:
        """Open the table `name` (an identifier of ours, never a user's), made where it is not there."""
        return Table(self, name, record_type)

    def execute(self, statement: str, *values: str | bytes) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything inside, or nothing where it raises. May be nested; the outermost one commits."""
        self._depth += 1
        try:
            if self._depth == 1:
                self._connection.execute("BEGIN IMMEDIATE")
            yield
        except BaseException:
            if self._depth == 1:
                self._connection.execute("ROLLBACK")
            raise
        else:
            if self._depth == 1:
                self._connection.execute("COMMIT")
        finally:
            self._depth -= 1

    def sync(self) -> None:
        """Wait until all that was committed is on disk, where no power cut undoes it. Usable in any thread."""
        try:
            fd = os.open(self._journal, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        self._connection.close()
