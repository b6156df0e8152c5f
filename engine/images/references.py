"""The names of images: `[domain/]path[:tag][@digest]`, how they are read and how they are shown.

The grammar and the error texts are those of the `distribution/reference` library that dockerd uses. Familiar names
leave out `docker.io/library/`. What a name points to is the catalog's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_MAX_PATH = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_NAME_RE = re.compile(rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH})")
_REFERENCE_RE = re.compile(rf"(?P<name>(?:{_DOMAIN}/)?{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_TAG_RE = re.compile(_TAG)
_LOOSE_DIGEST_RE = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_SHA256_RE = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalized name: domain and path are always there."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        """The reference as users see it."""
        return self.familiar_name + self._suffix

    @property
    def is_name_only(self) -> bool:
        return self.tag is None and self.digest is None

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        return self.name + self._suffix

    def with_tag(self, tag: str) -> Reference:
        if not _TAG_RE.fullmatch(tag):
            raise InvalidArgument("invalid tag format")
        return replace(self, tag=tag)

    def with_default_tag(self) -> Reference:
        """Add `latest` to a bare name."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def key(self) -> Reference:
        """Return what a catalog files it under: by digest where there is one, else by tag."""
        return replace(self, tag=None) if self.digest is not None else self.with_default_tag()


def parse(text: str) -> Reference:
    """Read a name, familiar or whole. Raises InvalidArgument with dockerd's text."""
    if _SHA256_RE.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(text)
    remote = remainder.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidArgument(f"invalid reference format: repository name ({remote}) must be lowercase")
    match = _REFERENCE_RE.fullmatch(f"{domain}/{remainder}")
    named = match and _NAME_RE.fullmatch(match["name"])
    if not match or not named:
        raise InvalidArgument("invalid reference format")
    if len(named["path"]) > _MAX_PATH:
        raise InvalidArgument(f"repository name must not be more than {_MAX_PATH} characters")
    if match["digest"] is not None:
        check_digest(match["digest"])
    return Reference(named["domain"], named["path"], match["tag"], match["digest"])


def parse_any(text: str) -> Reference | str:
    """Read a name, or return the digest that `text` is (64 bare hex digits count as one)."""
    if _SHA256_RE.fullmatch(text):
        return f"sha256:{text}"
    return text if is_digest(text) else parse(text)


def parse_repository_and_tag(repository: str, tag: str) -> Reference | None:
    """Read the `repo` and `tag` parameters of tag, import and commit; None where there is no name."""
    if not repository:
        return None
    reference = parse(repository)
    if reference.digest is not None:
        raise InvalidArgument("cannot import digest reference")
    check_name(reference)
    return reference.with_tag(tag) if tag else reference.with_default_tag()


def check_name(reference: Reference) -> None:
    """Refuse the one name that would look like a digest."""
    if reference.familiar_name == "sha256":
        raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")


def familiar_name(text: str) -> str:
    """Return a reference's name without tag and digest, as users see it; what is no reference stays as it is."""
    try:
        return parse(text).familiar_name
    except InvalidArgument:
        return text


def is_digest(text: str) -> bool:
    try:
        check_digest(text)
    except InvalidArgument:
        return False
    return True


def check_digest(text: str) -> None:
    """Raise InvalidArgument for what is no sha256 digest, in the words of go-digest."""
    algorithm, separator, encoded = text.partition(":")
    if not algorithm or not separator or not encoded or not _LOOSE_DIGEST_RE.fullmatch(text):
        raise InvalidArgument("invalid checksum digest format")
    if algorithm != "sha256":
        raise InvalidArgument("unsupported digest algorithm")
    if len(encoded) != 64:
        raise InvalidArgument("invalid checksum digest length")
    if not _SHA256_RE.fullmatch(encoded):
        raise InvalidArgument("invalid checksum digest format")


def _split_domain(text: str) -> tuple[str, str]:
    first, separator, rest = text.partition("/")
    if not separator:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        domain, remainder = DEFAULT_DOMAIN, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remainder = first, rest
    else:
        domain, remainder = DEFAULT_DOMAIN, text
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder
