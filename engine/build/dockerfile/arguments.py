"""Build arguments that are there before the first stage: platforms, and the ARGs above the first FROM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...images.config import Platform
from . import instructions as typed
from .errors import located
from .shellwords import Lexer
from .state import ArgInfo


def predefined(build: Platform, target: Platform, stage: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments that say what is built, and where."""
    values = {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": "",
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.os,
        "TARGETOSVERSION": "",
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }
    return {name: overrides.get(name, value) for name, value in values.items()}


def global_arguments(
    known: Mapping[str, str], args: Sequence[typed.Arg], lexer: Lexer, build_args: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, ArgInfo]]:
    """Return all that FROM may use, and what is to be told of those that the file declares."""
    values = dict(known)
    infos: dict[str, ArgInfo] = {}
    for instruction in args:
        for argument in instruction.arguments:
            info = ArgInfo(argument, instruction.location)
            value = build_args.get(argument.name)
            if value is None and argument.value is not None:
                with located(instruction.location):
                    expanded = lexer.expand(argument.value, values)
                value, info.needs = expanded.text, expanded.matched
                if argument.name in info.needs:
                    earlier = infos.get(argument.name)
                    info.needs = info.needs - {argument.name} | (earlier.needs if earlier else set())
            if value is not None:
                values[argument.name] = info.value = value
            infos[argument.name] = info
    return values, infos
