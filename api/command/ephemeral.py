"""What is asked of an engine that exists for one command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """`archives` are images to load first; an engine that is not `private` is in the host's network."""

    command: tuple[str, ...]
    flags: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    private: bool = True
    quiet: bool = False
