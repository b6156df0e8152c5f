"""Which containers there are: found by id, name or prefix, and written through to the store.

Every other module gets its `Container` here. Names are reserved before anything else is made, so that two creates
cannot both win one.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import AlreadyExists, InvalidArgument, NotFound
from ..ids import matching_prefix
from ..store import Store
from . import names
from .container import Container
from .record import ContainerRecord


class Registry:
    """The containers in memory, newest last."""

    def __init__(self, store: Store) -> None:
        self._table = store.table("containers", ContainerRecord)
        self._by_id: dict[str, Container] = {}
        self._id_by_name: dict[str, str] = {}

    def load(self) -> list[Container]:
        """Read what an earlier daemon wrote, oldest first."""
        records = sorted((record for _, record in self._table.all()), key=lambda record: record.created_ns)
        for record in records:
            self._by_id[record.id] = Container(record)
            self._id_by_name[record.name] = record.id
        return list(self._by_id.values())

    def __iter__(self) -> Iterator[Container]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._by_id

    def resolve(self, ref: str) -> Container:
        """Find by full id, then by name, then by unique prefix of the id."""
        if not ref:
            raise InvalidArgument('invalid name or ID supplied: ""')
        if found := self._by_id.get(ref):
            return found
        by_name = self._id_by_name.get(ref if ref.startswith("/") else f"/{ref}", "")
        if found := self._by_id.get(by_name):
            return found
        return self.resolve_prefix(ref)

    def resolve_prefix(self, prefix: str) -> Container:
        """Find by unique prefix of the id alone."""
        matches = matching_prefix(self._by_id, prefix)
        if len(matches) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {prefix}")
        if not matches:
            raise NotFound(f"No such container: {prefix}")
        return self._by_id[matches[0]]

    def by_id(self, container_id: str) -> Container | None:
        return self._by_id.get(container_id)

    def reserve_name(self, name: str, container_id: str) -> str:
        """Take `name`, or one that nobody chose where it is empty; return it with its slash."""
        if not name:
            full_name = names.pick(container_id, self._id_by_name.__contains__)
        else:
            full_name = names.check(name)
        if owner := self._id_by_name.get(full_name):
            raise AlreadyExists(
                f'Conflict. The container name "{full_name}" is already in use by container "{owner}". You have to '
                "remove (or rename) that container to be able to reuse that name."
            )
        self._id_by_name[full_name] = container_id
        return full_name

    def release_name(self, full_name: str) -> None:
        self._id_by_name.pop(full_name, None)

    def add(self, container: Container) -> None:
        """Make a container visible and durable; its name was reserved."""
        self.save(container)
        self._by_id[container.id] = container

    def save(self, container: Container) -> None:
        self._table.put(container.id, container.record)

    def remove(self, container: Container) -> None:
        """Forget the container and free its name."""
        self._table.delete(container.id)
        self._by_id.pop(container.id, None)
        if self._id_by_name.get(container.record.name) == container.id:
            del self._id_by_name[container.record.name]
