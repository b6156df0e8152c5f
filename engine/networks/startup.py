"""The networks when the daemon starts: every bridge made or taken over, all rules in one transaction. In the worker."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..errors import Error
from . import defaultbridge, settings
from .definition import DRIVERS
from .driver import BridgeDriver, Driver, Kernel
from .firewall import EndpointRules, clear_other
from .network import Network
from .parentlink import ParentLinkDriver
from .records import NetworkRecord
from .remote.driver import RemoteDriver

logger = logging.getLogger(__name__)


def bring_up(kernel: Kernel, records: Sequence[NetworkRecord]) -> list[Network]:
    """Return all networks, with their links; one of a user's that cannot be made is there all the same."""
    found = []
    opened: set[int] = set()
    for record in records:
        if record.name == "bridge":
            record = defaultbridge.configured(kernel, record)
        driver = None if record.config_only else driver_of(kernel, record)
        try:
            if isinstance(driver, BridgeDriver):
                opened |= driver.set_up_link()
            elif driver is not None:
                driver.set_up()
        except Error as error:
            if record.name == "bridge":
                raise
            logger.error("network %s could not be set up: %s", record.name, error)
        found.append(Network(record, driver))
    kernel.opened |= opened
    return found


def remove(kernel: Kernel, record: NetworkRecord) -> None:
    """Remove what there is of a network that an earlier daemon was making or removing when it ended."""
    driver = driver_of(kernel, record)
    if driver is not None:
        driver.tear_down()


def make_rules(kernel: Kernel, networks: Sequence[Network], endpoints: Sequence[EndpointRules]) -> None:
    """Make the firewall's rules exactly what these networks and endpoints need."""
    if kernel.firewall is None:
        return
    bridges = [network.driver.rules for network in networks if isinstance(network.driver, BridgeDriver)]
    kernel.firewall.start(bridges, endpoints)
    kernel.opened |= clear_other(kernel.firewall.name)
    kernel.drop_forwarding(kernel.opened)


def driver_of(kernel: Kernel, record: NetworkRecord) -> Driver | None:
    """Return what makes the network in the kernel; `host` and `none` need nothing."""
    if record.driver not in DRIVERS:
        return RemoteDriver(kernel)
    if record.driver in ("macvlan", "ipvlan"):
        return ParentLinkDriver(kernel, record)
    if record.driver != "bridge":
        return None
    is_default = record.name == "bridge"
    config = kernel.config.bridge
    wanted = settings.of_default_bridge(config) if is_default else settings.of_network(record)
    return BridgeDriver(kernel, record, wanted)
