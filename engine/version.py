"""The versions that the engine tells its clients."""

from __future__ import annotations

VERSION = "0.1.0"
"""Lightship's own version."""

COMPATIBLE_VERSION = "29.0.0"
"""The Docker Engine whose behaviour is followed; clients compare it, so it leads the version that is told."""

SERVER_VERSION = f"{COMPATIBLE_VERSION}+lightship.{VERSION}"

API_VERSION = "1.55"
MIN_API_VERSION = "1.24"
