"""What steps are called where progress is shown, as BuildKit calls them: `[stage 2/4] RUN make`."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InvalidArgument
from ...images.config import Platform
from .options import normalized, parse_platform
from .shellwords import Lexer
from .state import StageState


def prefixed(
    state: StageState, text: str, *, shows_platform: bool, environment: Mapping[str, str], is_onbuild: bool = False
) -> str:
    """Number a step of a stage, and name it."""
    if not state.command_total:
        return text
    platform = ""
    if shows_platform and state.platform is not None:
        platform = f"{state.platform}{_crossed(state.platform, environment)} "
    stage = f"{state.name} " if state.name else ""
    state.command_index += 1
    width = len(str(state.command_total))
    onbuild = "ONBUILD " if is_onbuild else ""
    return f"[{platform}{stage}{state.command_index:>{width}}/{state.command_total}] {onbuild}{text}"


def shown(source: str, lexer: Lexer, environment: Mapping[str, str]) -> str:
    """Return an instruction's text with its variables replaced, the instruction in capitals."""
    try:
        text = lexer.expand(source, environment).text
    except InvalidArgument:
        text = source
    name, separator, rest = text.partition(" ")
    return f"{name.upper()}{separator}{rest}"


def summary(document: str) -> str:
    """Return a heredoc's first line."""
    lines = document.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")


def _crossed(base: Platform, environment: Mapping[str, str]) -> str:
    """Return `->arm64` where a stage of one platform works for another."""
    target = _target(base, environment)
    if target is None:
        return ""
    if target.os != base.os:
        return f"->{target}"
    if target.architecture == base.architecture:
        return ""
    return f"->{target.architecture}" + (f"/{target.variant}" if target.variant else "")


def _target(base: Platform, environment: Mapping[str, str]) -> Platform | None:
    names = ("TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT")
    platform, system, architecture, variant = (environment.get(name) for name in names)
    if platform:
        try:
            return parse_platform(platform)
        except InvalidArgument:
            pass
    if system is None and architecture is None and variant is None:
        return None
    return normalized(Platform(system or base.os, architecture or base.architecture, variant or ""))
