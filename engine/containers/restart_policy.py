"""`docker update --restart`: another restart policy for a container, told to its shim where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import errors
from ..shim.messages import Restart
from .validate import check_restart_policy

if TYPE_CHECKING:
    from ...openapi.types.hostconfig import RestartPolicy
    from .container import Container


def refuse(container: Container, policy: RestartPolicy) -> None:
    """Raise where the container cannot have the policy; one without a name changes nothing."""
    check_restart_policy(policy)
    if container.record.host_config.auto_remove and policy.name not in ("", "no"):
        raise errors.Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")


async def change(container: Container, policy: RestartPolicy) -> None:
    """Set the policy for the exits to come; a restart that is under way goes on, as in dockerd."""
    if container.task is not None:
        await container.task.set_restart(Restart(policy.name, policy.maximum_retry_count))
    container.record.host_config.restart_policy = policy
