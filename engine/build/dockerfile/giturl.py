"""Addresses of git repositories as build contexts and ADD take them: which they are, and the parts after the address.

`https://host/repo.git#ref:subdir`, `git@host:repo.git?ref=x&subdir=y`, `ssh://`, `git://`; `github.com/…` for contexts.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from .quoting import go_quote

_SCHEME = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(r"([a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:[^?#]*)(?:\?([^#]*))?(?:#(.*))?")
_BOOLEANS = ("submodules", "keep-git-dir", "fetch-by-commit")


@dataclass(frozen=True, slots=True)
class GitUrl:
    """`is_ambiguous`: it could be a path in the context as well, so only a context may be written so."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keeps_git_dir: bool | None = None
    submodules: bool = True
    is_ambiguous: bool = False


def parse_git_url(text: str) -> GitUrl | None:
    """Return None for what is none. Raises InvalidArgument for a query that is wrong."""
    if text.startswith("github.com/"):
        return replace(_standard(f"https://{text}"), is_ambiguous=True)
    if match := _SCHEME.match(text):
        scheme = match[1].lower()
        is_web = scheme in ("http", "https")
        if scheme not in ("http", "https", "ssh", "git") or (is_web and not _split(text).path.endswith(".git")):
            return None
        return _standard(text)
    if match := _SCP.fullmatch(text):
        return _with_parts(match[1], match[2] or "", match[3] or "")
    return None


def _standard(text: str) -> GitUrl:
    parts = _split(text)
    return _with_parts(urlunsplit(parts._replace(query="", fragment="")), parts.query, parts.fragment)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise InvalidArgument(f"parse {go_quote(text)}: {str(error).lower()}") from error


def _with_parts(remote: str, query: str, fragment: str) -> GitUrl:
    ref, _, subdir = fragment.partition(":")
    url = GitUrl(remote, ref, posixpath.normpath(f"/{subdir}").lstrip("/"))
    return _with_query(url, query) if query else url


def _with_query(url: GitUrl, query: str) -> GitUrl:
    chosen: dict[str, str] = {}
    for key, values in parse_qs(query, keep_blank_values=True).items():
        if len(values) > 1:
            raise InvalidArgument(f"query {go_quote(key)} has multiple values")
        if not values[0] and key not in _BOOLEANS:
            raise InvalidArgument(f"query {go_quote(key)} has no value")
        chosen[key] = values[0]
    ref = _agreed("ref", url.ref, chosen.pop("ref", ""))
    tag, branch = chosen.pop("tag", ""), chosen.pop("branch", "")
    if tag and branch:
        raise InvalidArgument("branch conflicts with tag")
    for prefix, name in (("refs/tags/", tag), ("refs/heads/", branch)):
        if name:
            ref = _agreed("ref", ref, name if name.startswith(prefix) else prefix + name)
    subdir = _agreed("subdir", url.subdir, chosen.pop("subdir", ""))
    checksum = chosen.pop("checksum", "") or chosen.pop("commit", "")
    keeps = _truth("keep-git-dir", chosen.pop("keep-git-dir")) if "keep-git-dir" in chosen else None
    submodules = _truth("submodules", chosen.pop("submodules")) if "submodules" in chosen else True
    for key in chosen:
        raise InvalidArgument(f"unexpected query {go_quote(key)}")
    return replace(
        url, ref=ref, subdir=subdir, checksum=checksum, keeps_git_dir=keeps, submodules=submodules
    )  # fmt: skip


def _agreed(name: str, first: str, second: str) -> str:
    if first and second and first != second:
        raise InvalidArgument(f"{name} conflicts: {go_quote(first)} vs {go_quote(second)}")
    return first or second


def _truth(key: str, value: str) -> bool:
    try:
        return parse_bool(value) if value else True
    except ValueError:
        raise InvalidArgument(f"invalid {key} value: {go_quote(value)}") from None
