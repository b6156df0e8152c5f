"""`docker rename`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Error, InvalidArgument

if TYPE_CHECKING:
    from .context import Context


async def rename(context: Context, ref: str, new_name: str) -> None:
    """Give a container another name; it keeps the old one where the new one cannot be had."""
    ref, new_name = ref.strip(), new_name.strip()
    if not ref.removeprefix("/") or not new_name.removeprefix("/"):
        raise InvalidArgument("Neither old nor new names may be empty")
    container = context.registry.resolve(ref)
    async with container.lock:
        full_name = new_name if new_name.startswith("/") else f"/{new_name}"
        old_name = container.record.name
        if old_name == full_name:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        try:
            context.registry.reserve_name(full_name, container.id)
        except Error as error:
            raise type(error)(f"Error when allocating new name: {error}") from error
        container.record.name = full_name
        context.registry.save(container)
        context.registry.release_name(old_name)
        context.networks.rename(container.id, container.name)
        context.announce(container, "rename", {"oldName": old_name})
