"""All managed plugins of the engine: made from an archive or pulled, set, enabled, used by name, removed.

    <data root>/plugins/<id>/rootfs            its only layer, unpacked; it writes there
    <data root>/plugins/<id>/propagated-mount  what it mounts for others
    <exec root>/plugins/<short id>/            its socket

Its blobs lie in the images' content store, which is told that they are needed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ...openapi.codec import DecodeError, decode
from ...openapi.types.plugins import Plugin, PluginConfig, PluginPrivilege, PluginRootFS
from ..errors import AlreadyExists, Conflict, Error, InvalidArgument, NotFound
from ..filters import Filters
from ..ids import matching_prefix, new_id
from ..images.config import Descriptor
from ..images.narration import Narration, narrated
from ..images.progress import Message
from ..images.references import Reference, parse
from ..images.registry import manifests
from ..images.registry.credentials import Credentials
from ..images.streams import read_in_thread
from . import privileges, settings, transfer
from .archive import Layer, split
from .client import Client
from .process import Process
from .record import PluginRecord
from .volumes import VolumePlugin

if TYPE_CHECKING:
    from ..engine import Engine

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Client)

_FILTERS = ("enabled", "capability")
_VOLUMES, _AUTHORIZATION = "volumedriver", "authz"


class Plugins:
    """Used from the event loop's thread alone. A plugin's ref is its name, its id or a prefix of that."""

    def __init__(self, engine: Engine) -> None:
        self._context, self._images, self._events = engine.containers.context, engine.images, engine.events
        self._root = engine.config.data_root / "plugins"
        self._table = engine.store.table("plugins", PluginRecord)
        self._records = dict(self._table.all())
        self._locks: dict[str, asyncio.Lock] = {}
        self.is_in_use: Callable[[str], bool] = lambda name: False
        """Whether anything relies on the plugin of a name. Set by the engine."""
        self.before_disable: Callable[[str], None] = lambda name: None
        """Told the name of a plugin that is about to end. Set by the engine."""
        self._images.garbage.holders.append(self._blobs)

    def _blobs(self) -> Iterator[str]:
        for record in self._records.values():
            yield from record.blobs

    # The daemon's life

    def ids(self) -> list[str]:
        return list(self._records)

    async def start(self) -> None:
        """Find the plugins that run, start those that should; what a killed daemon had half made goes."""
        if self._root.is_dir():
            for directory in self._root.iterdir():
                if directory.name not in self._records:
                    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        await asyncio.gather(*(self._restore(record) for record in self._records.values() if record.enabled))

    async def close(self) -> None:
        """End the plugins, where containers end with the daemon too."""
        if not self._context.config.live_restore:
            running = [record for record in self._records.values() if record.enabled]
            await asyncio.gather(*(self._process(record).stop() for record in running))

    async def _restore(self, record: PluginRecord) -> None:
        process = self._process(record)
        try:
            if not await process.adopt():
                await process.clear()
                await process.start()
        except Error as error:
            logger.error("plugin %s: could not be started: %s", record.name, error)
            record.enabled = False
            self._table.put(record.id, record)

    # Looking at them

    def list(self, filters: Filters) -> Sequence[Plugin]:
        filters.validate(_FILTERS)
        found = list(self._records.values())
        if "enabled" in filters:
            wanted = filters.boolean("enabled")
            found = [record for record in found if record.enabled is wanted]
        if capabilities := filters.get("capability"):
            found = [record for record in found if all(name in capabilities for _, name in record.capabilities())]
        return [record.described() for record in found]

    def inspect(self, ref: str) -> Plugin:
        return self._find(ref).described()

    def volume_plugins(self) -> Sequence[VolumePlugin]:
        """Return the enabled plugins that drive volumes."""
        return [
            VolumePlugin(each.name, self._process(each), limit_s=each.timeout_s)
            for each in self._records.values()
            if each.enabled and each.implements(_VOLUMES)
        ]

    def volume_plugin(self, name: str) -> VolumePlugin | None:
        """Return the plugin of that name, None where none that drives volumes has it. Raises Conflict."""
        record = self._enabled(name, _VOLUMES)
        return (
            VolumePlugin(record.name, self._process(record), limit_s=record.timeout_s) if record is not None else None
        )

    def authorization_plugin(self, name: str) -> Client | None:
        """Return the plugin of that name, None where none that authorizes has it. Raises Conflict."""
        return self.speaking(name, _AUTHORIZATION, Client)

    def speaking(self, name: str, capability: str, kind: type[C]) -> C | None:
        """Return the plugin of that name as a `kind`, None where none has the capability. Raises Conflict."""
        record = self._enabled(name, capability)
        if record is None:
            return None
        return kind(record.name, f"unix://{self._process(record).socket}", limit_s=record.timeout_s)

    def names_with(self, capability: str) -> Sequence[str]:
        """Return the names of all that are enabled and have a capability."""
        return [each.name for each in self._records.values() if each.enabled and each.implements(capability)]

    def _enabled(self, name: str, capability: str) -> PluginRecord | None:
        try:
            record = self._find(name)
        except Error:
            return None
        if not record.implements(capability):
            return None
        if not record.enabled:
            raise Conflict(f"plugin {record.name} found but disabled")
        return record

    # Changing them

    async def create(self, name: str, archive: AsyncIterator[bytes]) -> None:
        """Make a plugin from an archive with its config and root file system."""
        reference = _named(name)
        self._refuse_name(reference.familiar)
        content = self._images.content
        with self._images.garbage.pinned() as pins:
            ingest = content.ingest()
            try:
                layer = Layer(ingest)
                config = _decoded(await read_in_thread(archive, lambda read: split(read, layer)))
                diff_id = layer.finish()
                self._images.garbage.pin(pins, ingest.digest)
                content.commit(ingest)
            finally:
                ingest.abort()
            config.rootfs = PluginRootFS(type="layers", diff_ids=[diff_id])
            data = msgspec.json.encode(config)
            described = Descriptor(transfer.CONFIG_TYPE, len(data), content.add(data))
            layers = [Descriptor(transfer.LAYER_TYPE, ingest.size, ingest.digest)]
            manifest = content.add(transfer.manifest_of(described, layers))
            for digest in (described.digest, manifest):
                self._images.garbage.pin(pins, digest)
            record = await self._add(reference.familiar, config, manifest, reference=reference.familiar)
        self._tell(record.id, "create", record.name)

    def set(self, ref: str, wishes: Sequence[str]) -> None:
        record = self._find(ref)
        if record.enabled:
            raise Conflict("cannot set on an active plugin, disable plugin before setting")
        record.settings = settings.changed(record.config, record.settings, wishes)
        self._table.put(record.id, record)

    async def enable(self, ref: str, *, timeout_s: int) -> None:
        """Start a plugin; each call of it may take `timeout_s`, 0 for what calls take by themselves."""
        record = self._find(ref)
        async with self._lock(record):
            if record.enabled:
                raise Conflict(f"plugin already enabled: plugin {record.name} is enabled")
            await self._process(record).start()
            record.enabled, record.timeout_s = True, timeout_s
            self._table.put(record.id, record)
        self._tell(record.id, "enable", ref)

    async def disable(self, ref: str, *, force: bool) -> None:
        record = self._find(ref)
        if not force and self.is_in_use(record.name):
            raise Conflict(f"plugin {record.name} is in use")
        async with self._lock(record):
            if not record.enabled:
                raise Conflict(f"plugin is already disabled: plugin {record.name} found but disabled")
            await self._disable(record)
        self._tell(record.id, "disable", ref)

    async def remove(self, ref: str, *, force: bool) -> None:
        record = self._find(ref)
        if not force:
            if self.is_in_use(record.name):
                raise Conflict(f"plugin {record.name} is in use")
            if record.enabled:
                raise Conflict(f"plugin {record.name} is enabled")
        async with self._lock(record):
            if record.id not in self._records:
                raise NotFound(f'plugin "{ref}" not found')
            if record.enabled:
                await self._disable(record)
            del self._records[record.id]
            self._table.delete(record.id)
            await asyncio.to_thread(shutil.rmtree, self._root / record.id, ignore_errors=True)
            await self._images.garbage.collect(blobs=record.blobs, diff_ids=[])
        del self._locks[record.id]
        self._tell(record.id, "remove", ref)

    # Registries

    async def privileges(self, remote: str, credentials: Credentials) -> Sequence[PluginPrivilege]:
        """Return what a plugin at its registry asks for; nothing where it cannot be had, as dockerd answers."""
        try:
            data = await transfer.fetch_config(self._images, _named(remote), credentials)
        except Error as error:
            logger.info("%s: %s", remote, error)
            return []
        return privileges.required(_decoded(data))

    def pull(
        self, remote: str, name: str, accepted: Sequence[PluginPrivilege], credentials: Credentials
    ) -> AsyncIterator[Message]:
        """Install a plugin from its registry under a name of `local_name`."""
        reference = _named(remote)

        async def work(narration: Narration) -> None:
            self._refuse_name(name)
            with self._images.garbage.pinned() as pins:
                fetched = await transfer.pull(self._images, reference, credentials, narration, pins)
                self._tell(reference.familiar, "pull", name)
                config = _decoded(fetched.config)
                privileges.check(config, accepted)
                await self._add(name, config, fetched.digest, reference=str(reference))

        return narrated(work)

    def upgrade(
        self, ref: str, remote: str, accepted: Sequence[PluginPrivilege], credentials: Credentials
    ) -> AsyncIterator[Message]:
        """Replace a disabled plugin by what its registry has; what was set is kept."""
        record = self._find(ref)
        if record.enabled:
            raise Conflict(f"plugin must be disabled before upgrading: plugin {record.name} is enabled")
        reference = _named(remote)

        async def work(narration: Narration) -> None:
            with self._images.garbage.pinned() as pins:
                fetched = await transfer.pull(self._images, reference, credentials, narration, pins)
                config = _decoded(fetched.config)
                privileges.check(config, accepted)
                async with self._lock(record):
                    await self._replace(record, config, fetched.digest, reference)
                self._tell(reference.familiar, "pull", ref)

        return narrated(work)

    def push(self, ref: str, credentials: Credentials) -> AsyncIterator[Message]:
        record = self._find(ref)

        async def work(narration: Narration) -> None:
            reference = _named(record.name)
            await transfer.push(self._images, reference, credentials, record.manifest_digest, narration)
            self._tell(record.id, "push", record.name)

        return narrated(work)

    # Within

    async def _add(self, name: str, config: PluginConfig, manifest: str, *, reference: str) -> PluginRecord:
        """Make a plugin of blobs that are here."""
        described = manifests.parse_manifest(self._images.content.read(manifest))
        record = PluginRecord(
            id=new_id(),
            name=name,
            config=config,
            settings=settings.initial(config),
            config_digest=described.config.digest,
            manifest_digest=manifest,
            layers=[layer.digest for layer in described.layers],
            reference=reference,
        )
        directory = self._root / record.id
        try:
            await self._unpack(record, directory / "rootfs")
            self._refuse_name(name)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            raise
        self._table.put(record.id, record)
        self._records[record.id] = record
        return record

    async def _replace(self, record: PluginRecord, config: PluginConfig, manifest: str, reference: Reference) -> None:
        described = manifests.parse_manifest(self._images.content.read(manifest))
        earlier = record.blobs
        record.config, record.manifest_digest = config, manifest
        record.config_digest = described.config.digest
        record.layers = [layer.digest for layer in described.layers]
        record.reference = str(reference)
        fresh, current = self._root / record.id / "fresh", self._root / record.id / "rootfs"
        try:
            await self._unpack(record, fresh)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
            self._records[record.id] = self._table.get(record.id) or record
            raise
        await asyncio.to_thread(shutil.rmtree, current)
        fresh.rename(current)
        self._table.put(record.id, record)
        await self._images.garbage.collect(blobs=earlier, diff_ids=[])

    async def _unpack(self, record: PluginRecord, directory: Path) -> None:
        directory.mkdir(parents=True)
        plain = self._images.content.new_path()
        try:
            for layer in record.layers:
                blob = self._images.content.path(layer)
                await self._images.workers.unpack(blob, directory, diff_id=None, plain=plain)
        finally:
            plain.unlink(missing_ok=True)

    async def _disable(self, record: PluginRecord) -> None:
        self.before_disable(record.name)
        await self._process(record).stop()
        record.enabled = False
        self._table.put(record.id, record)

    def _process(self, record: PluginRecord) -> Process:
        return Process(self._context, record, self._root / record.id)

    def _lock(self, record: PluginRecord) -> asyncio.Lock:
        return self._locks.setdefault(record.id, asyncio.Lock())

    def _find(self, ref: str) -> PluginRecord:
        if ref in self._records:
            return self._records[ref]
        try:
            name = parse(ref).with_default_tag().familiar
        except InvalidArgument:
            name = ref
        for record in self._records.values():
            if record.name == name:
                return record
        found = matching_prefix(self._records, ref)
        if len(found) > 1:
            raise InvalidArgument(f'multiple plugins found for "{ref}"')
        if not found or not ref:
            raise NotFound(f'plugin "{ref}" not found')
        return self._records[found[0]]

    def _refuse_name(self, name: str) -> None:
        if any(record.name == name for record in self._records.values()):
            raise AlreadyExists(f"plugin {name} already exists")

    def _tell(self, id: str, action: str, name: str) -> None:
        self._events.publish("plugin", action, id, {"name": name})


def local_name(remote: str, wished: str) -> str:
    """Return what a plugin is called here: as its user wishes, else as at its registry. Raises InvalidArgument."""
    if wished:
        reference = parse(wished)
        if reference.digest is not None:
            raise InvalidArgument("cannot use digest in plugin tag")
        return reference.with_default_tag().familiar
    reference = parse(remote)
    return replace(reference, digest=None).with_default_tag().familiar


def _named(text: str) -> Reference:
    reference = parse(text)
    if reference.digest is not None and reference.tag is None:
        return reference
    return reference.with_default_tag()


def _decoded(data: bytes) -> PluginConfig:
    try:
        return decode(data, PluginConfig)
    except DecodeError as error:
        raise InvalidArgument(f"failed to parse config: {error}") from error
