from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from lightship.engine.store import Store


class Thing(msgspec.Struct):
    name: str
    size: int = 0


def test_records_outlive_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    things = store.table("things", Thing)
    things.put("a", Thing("a", 1))
    things.put("b", Thing("b"))
    things.put("a", Thing("a", 2))
    things.delete("b")
    store.close()
    again = Store(tmp_path / "db").table("things", Thing)
    assert list(again.all()) == [("a", Thing("a", 2))]
    assert again.get("b") is None


def test_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    things = store.table("things", Thing)
    with pytest.raises(ZeroDivisionError), store.transaction():
        things.put("a", Thing("a"))
        with store.transaction():
            things.put("b", Thing("b"))
        raise ZeroDivisionError
    assert not list(things.all())
    with store.transaction():
        things.put("c", Thing("c"))
    assert [key for key, _ in things.all()] == ["c"]
    store.close()


def test_records_written_by_an_older_version_are_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    store.table("things", dict[str, str]).put("a", {"name": "a", "unknown": "field"})
    assert store.table("things", Thing).get("a") == Thing("a", 0)
    store.close()
