"""Doing something at a repository's registry: at the first of its endpoints that has what is asked for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import Error, Internal
from .references import Reference
from .registry.credentials import Credentials
from .registry.failures import Unreachable
from .registry.hosts import endpoints
from .registry.session import Session, open_session

if TYPE_CHECKING:
    from .images import Images

logger = logging.getLogger(__name__)
T = TypeVar("T")


async def with_session(
    images: Images,
    reference: Reference,
    credentials: Credentials,
    work: Callable[[Session], Awaitable[T]],
    *,
    pushes: bool = False,
) -> T:
    """Do something at a registry; what `pushes` goes to no mirror, anything else asks mirrors first."""
    actions = "pull,push" if pushes else "pull"
    failed: Error = Internal(f"no endpoints found for {reference.name if pushes else reference.familiar}")
    found = await endpoints(images.registry, reference.domain, with_mirrors=not pushes, plain=images.plain_hosts)
    for endpoint in found:
        is_reached = False
        try:
            async with open_session(images.registry, endpoint, reference.path, credentials, actions=actions) as session:
                is_reached = True
                images.note_scheme(endpoint)
                return await work(session)
        except Error as error:
            logger.info("%s at %s: %s: %s", reference.familiar, endpoint.host, actions, error)
            failed = error
            if not endpoint.is_mirror and (is_reached or not isinstance(error, Unreachable)):
                raise
    raise failed
