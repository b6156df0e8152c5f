"""Build checks: what is allowed and still likely wrong (https://docs.docker.com/reference/build-checks/).

One method a rule, with BuildKit's names, sentences and addresses. A Dockerfile chooses rules by `# check=`, one
instruction by the same comment above it, a client by the build argument BUILDKIT_DOCKERFILE_CHECK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from ..graph import Location
from . import rules
from .directives import Directives
from .quoting import go_quote
from .rules import Rule
from .suggestions import closest

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    rule: Rule
    message: str
    location: Location


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rules are looked at. `skip` and `experimental` may be {"all"}."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error: bool = False


def parse_choice(text: str) -> Choice:
    """Read `skip=A,B;experimental=all;error=true`. Raises InvalidArgument."""
    choice = Choice()
    for option in text.strip().split(";", 2) if text.strip() else ():
        key, separator, value = option.partition("=")
        key = key.strip()
        if not separator:
            raise InvalidArgument(f"invalid check option {go_quote(option)}")
        names = frozenset(name.strip() for name in value.split(","))
        if key == "skip":
            choice = replace(choice, skip=names)
        elif key == "experimental":
            choice = replace(choice, experimental=names)
        elif key == "error":
            try:
                choice = replace(choice, is_error=parse_bool(value.strip()))
            except ValueError as error:
                raise InvalidArgument(f"failed to parse check option {go_quote(option)}: {error}") from error
        else:
            raise InvalidArgument(f"invalid check option {go_quote(key)}")
    return choice


class Checks:
    """Tells findings to `report`, those that nobody wants left out; `broken` are the rules of the rest."""

    def __init__(self, choice: Choice, report: Callable[[Finding], None], broken: set[str] | None = None) -> None:
        self._choice, self._report = choice, report
        self._broken: set[str] = set() if broken is None else broken

    def merged_with(self, comments: Sequence[str]) -> Checks:
        """Return the checks for an instruction that has these comments above it."""
        for comment in comments:
            directive = Directives(comment="").read(comment)
            if directive is None or directive.name != "check":
                continue
            try:
                other = parse_choice(directive.value.partition(" ")[0])
            except InvalidArgument:
                return self
            choice = replace(
                self._choice,
                skip=self._choice.skip | other.skip,
                experimental=self._choice.experimental | other.experimental,
            )
            return Checks(choice, self._report, self._broken)
        return self

    def raise_if_error(self) -> None:
        """Raise InvalidArgument where findings are to be errors."""
        if self._choice.is_error and self._broken:
            raise InvalidArgument(f"lint violation found for rules: {', '.join(sorted(self._broken))}")

    def _find(self, rule: Rule, location: Location, message: str) -> None:
        chosen = self._choice.experimental if rule.is_experimental else self._choice.skip
        if (rule.name in chosen or "all" in chosen) == rule.is_experimental:
            self._broken.add(rule.name)
            self._report(Finding(rule, message, location))

    def no_empty_continuation(self, location: Location) -> None:
        self._find(rules.NO_EMPTY_CONTINUATION, location, "Empty continuation line")

    def maintainer_deprecated(self, location: Location) -> None:
        self._find(
            rules.MAINTAINER_DEPRECATED, location, "Maintainer instruction is deprecated in favor of using label"
        )

    def stage_name_casing(self, location: Location, name: str) -> None:
        if name != name.lower():
            self._find(rules.STAGE_NAME_CASING, location, f"Stage name '{name}' should be lowercase")

    def from_as_casing(self, location: Location, from_: str, as_: str) -> None:
        if (from_.islower() and not as_.islower()) or (from_.isupper() and not as_.isupper()):
            self._find(rules.FROM_AS_CASING, location, f"'{as_}' and '{from_}' keywords' casing do not match")

    def definition_description(
        self, location: Location, instruction: str, names: Sequence[str], comments: Sequence[str]
    ) -> None:
        if comments and names and comments[-1].split(" ")[0] not in names:
            shown = names[0] if len(names) == 1 else "<arg_key>"
            message = f"Comment for {instruction} should follow the format: `# {shown} <description>`"
            self._find(rules.INVALID_DEFINITION_DESCRIPTION, location, message)

    def instruction_casing(self, instructions: Iterable[tuple[Location, str]]) -> None:
        """Every instruction of the file is to be in the case that most are in."""
        named = list(instructions)
        lower = sum(name.islower() for _, name in named)
        upper = sum(name.isupper() for _, name in named)
        casing, right = ("lowercase", str.lower) if lower > upper else ("uppercase", str.upper)
        for location, name in named:
            if right(name) != name:
                message = f"Command '{name}' should match the case of the command majority ({casing})"
                self._find(rules.CONSISTENT_INSTRUCTION_CASING, location, message)

    def stage_names(self, stages: Iterable[tuple[Location, str]]) -> None:
        seen: set[str] = set()
        for location, name in stages:
            if name in ("context", "scratch"):
                message = f"Stage name should not use the same name as reserved stage {go_quote(name)}"
                self._find(rules.RESERVED_STAGE_NAME, location, message)
            if name and name in seen:
                message = f"Duplicate stage name {go_quote(name)}, stage names should be unique"
                self._find(rules.DUPLICATE_STAGE_NAME, location, message)
            seen.add(name)

    def json_args_recommended(self, location: Location, instruction: str) -> None:
        message = f"JSON arguments recommended for {instruction} to prevent unintended behavior related to OS signals"
        self._find(rules.JSON_ARGS_RECOMMENDED, location, message)

    def undefined_args_in_from(self, location: Location, unmatched: Iterable[str], known: Iterable[str]) -> None:
        names = sorted(known)
        for name in sorted(set(unmatched) - set(names)):
            match = closest(name, names)
            hint = f" (did you mean {match}?)" if match else ""
            self._find(rules.UNDEFINED_ARG_IN_FROM, location, f"FROM argument '{name}' is not declared{hint}")

    def undefined_vars(self, location: Location, unmatched: Iterable[str], known: Iterable[str]) -> None:
        names = sorted(known)
        for name in sorted(unmatched):
            match = closest(name, names)
            hint = f" (did you mean ${match}?)" if match else ""
            self._find(rules.UNDEFINED_VAR, location, f"Usage of undefined variable '${name}'{hint}")

    def workdir_relative_path(self, location: Location, path: str) -> None:
        message = f"Relative workdir {go_quote(path)} can have unexpected results if the base image changes"
        self._find(rules.WORKDIR_RELATIVE_PATH, location, message)

    def multiple_instructions(self, location: Location, instruction: str) -> None:
        message = (
            f"Multiple {instruction} instructions should not be used in the same stage"
            " because only the last one will be used"
        )
        self._find(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, location, message)

    def legacy_key_value(self, location: Location, instruction: str) -> None:
        message = f'"{instruction} key=value" should be used instead of legacy "{instruction} key value" format'
        self._find(rules.LEGACY_KEY_VALUE_FORMAT, location, message)

    def base_image_platform(self, location: Location, image: str, expected: str, actual: str) -> None:
        message = (
            f"Base image {image} was pulled with platform {go_quote(actual)},"
            f" expected {go_quote(expected)} for current build"
        )
        self._find(rules.INVALID_BASE_IMAGE_PLATFORM, location, message)

    def redundant_target_platform(self, location: Location, variable: str) -> None:
        message = f"Setting platform to predefined {variable} in FROM is redundant as this is the default behavior"
        self._find(rules.REDUNDANT_TARGET_PLATFORM, location, message)

    def secret_name(self, location: Location, instruction: str, name: str) -> None:
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            message = f"Do not use ARG or ENV instructions for sensitive data ({instruction} {go_quote(name)})"
            self._find(rules.SECRETS_USED_IN_ARG_OR_ENV, location, message)

    def default_arg_in_from(self, location: Location, base: str) -> None:
        message = f"Default value for ARG {base} results in empty or invalid base image name"
        self._find(rules.INVALID_DEFAULT_ARG_IN_FROM, location, message)

    def constant_platform(self, location: Location, platform: str) -> None:
        message = f"FROM --platform flag should not use constant value {go_quote(platform)}"
        self._find(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, location, message)

    def copy_ignored_file(self, location: Location, verb: str, path: str) -> None:
        message = f"Attempting to {verb} file {go_quote(path)} that is excluded by .dockerignore"
        self._find(rules.COPY_IGNORED_FILE, location, message)

    def expose_proto_casing(self, location: Location, port: str) -> None:
        message = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
        self._find(rules.EXPOSE_PROTO_CASING, location, message)

    def expose_invalid_format(self, location: Location, port: str) -> None:
        message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        self._find(rules.EXPOSE_INVALID_FORMAT, location, message)
