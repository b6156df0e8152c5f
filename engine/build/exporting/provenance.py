"""Provenance: what a build was made from and how, as an in-toto statement of SLSA's form, version 0.2 or 1.

With `mode=min` what a client gave as arguments and secrets is left out, `mode=max` tells of all steps as well.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from ... import booleans, errors
from ...images.config import Descriptor, Platform
from ...images.content import digest_of
from ...images.references import Reference, parse
from ...times import rfc3339
from ..frontend import Request, Result
from ..graph import GitSource, HttpSource, ImageSource, LocalSource, Run, SecretMount, SshMount, Step, ancestry
from .attestations import statement
from .buildconfig import BuildConfig, Json, redacted
from .layers import blob_of

if TYPE_CHECKING:
    from ..solver import Solver
    from .manifests import Exported

PREDICATE_TYPE = "https://slsa.dev/provenance/v0.2"
_PREDICATES = {"v0.2": PREDICATE_TYPE, "v1": "https://slsa.dev/provenance/v1"}
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"
_BUILD_TYPE_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
_OPTION, _ARGUMENT = "attest:provenance", "build-arg:BUILDKIT_ATTEST_PROVENANCE"
_SBOM = ("attest:sbom", "build-arg:BUILDKIT_ATTEST_SBOM")
_MODES = {"full": "max", "max": "max", "min": "min"}
_KNOWN = ("type", "mode", "version", "reproducible", "inline-only", "builder-id", "filename", "disabled")
_OF_THE_HOST = ("cgroup-parent", "image-resolve-mode", "platform", "cache-imports")
_PRIVATE = ("build-arg:", "label:")
_NO_LAYERS: Mapping[str, Descriptor] = {}


@dataclass(frozen=True)
class Provenance:
    """What is asked for. `is_inline_only`: beside images alone, not in archives and directories."""

    request: Request
    result: Result
    mode: str = "max"
    version: str = "v0.2"
    is_reproducible: bool = False
    is_inline_only: bool = False
    builder_id: str = ""
    filename: str = "provenance.json"

    @classmethod
    def of(cls, request: Request, result: Result) -> Provenance | None:
        """Read the request's options; None where there is to be none."""
        if (settings := read(request.options)) is None:
            return None
        return cls(
            request,
            result,
            _MODES[settings.get("mode", "max")],
            settings.get("version", "v0.2"),
            _flag(settings, "reproducible"),
            _flag(settings, "inline-only"),
            settings.get("builder-id", ""),
            settings.get("filename", "provenance.json"),
        )

    @property
    def predicate_type(self) -> str:
        return _PREDICATES[self.version]

    def statement(
        self, solver: Solver, exported: Exported, names: Sequence[Reference], layers: Mapping[str, Descriptor]
    ) -> bytes:
        """Return what is said of an image, by each of its names; `layers` are its blobs by diff id."""
        digest = {"sha256": exported.descriptor.digest.removeprefix("sha256:")}
        platform = str(exported.built.platform)
        subjects = [{"name": _purl(name, platform), "digest": digest} for name in names]
        return self.statement_of(solver, exported.built.step, subjects, layers)

    def statement_of(
        self, solver: Solver, step: Step | None, subjects: list[Json], layers: Mapping[str, Descriptor] = _NO_LAYERS
    ) -> bytes:
        """Return what is said of subjects that a step resulted in."""
        made = _Predicate(self, solver, step, layers)
        predicate = made.version_1() if self.version == "v1" else made.version_0_2()
        return statement(subjects, self.predicate_type, predicate)


def predicates(solver: Solver, request: Request, result: Result) -> dict[str, bytes]:
    """Return all that is known of how images were made, by platform; for the record of a build."""
    asked = Provenance(request, result)
    return {
        str(built.platform): msgspec.json.encode(_Predicate(asked, solver, built.step, {}).version_0_2())
        for built in result.images
    }


def read(options: Mapping[str, str]) -> Mapping[str, str] | None:
    """Read the options that ask for attestations, None for no provenance. Raises InvalidArgument, NotImplemented."""
    if any(name in options for name in _SBOM):
        raise errors.NotImplemented("SBOM attestations are not supported")
    for name in options:
        kind = name.removeprefix("attest:")
        if kind != name and name != _OPTION:
            raise errors.InvalidArgument(f'unknown attestation type "{kind}"')
    text = options.get(_OPTION, options.get(_ARGUMENT))
    if text is None or text == "false":
        return None
    settings = dict(part.partition("=")[::2] for part in text.split(",") if part and part != "true")
    for name in settings:
        if name not in _KNOWN:
            raise errors.NotImplemented(f"provenance with {name} is not supported")
    if settings.get("mode", "max") not in _MODES:
        raise errors.InvalidArgument(f'invalid mode "{settings["mode"]}"')
    if settings.get("version", "v1") not in _PREDICATES:
        raise errors.InvalidArgument(f"invalid provenance SLSA version: {settings['version']}")
    _flag(settings, "reproducible")
    return None if _flag(settings, "disabled") else settings


def _flag(settings: Mapping[str, str], name: str) -> bool:
    try:
        return booleans.parse(settings.get(name, "false"))
    except ValueError as error:
        raise errors.InvalidArgument(f'failed to parse {name} flag "{settings[name]}": {error}') from error


class _Predicate:
    """What is said of a step's result."""

    def __init__(self, asked: Provenance, solver: Solver, step: Step | None, layers: Mapping[str, Descriptor]) -> None:
        self._asked, self._solver, self._layers = asked, solver, layers
        self._is_max = asked.mode == "max"
        self._steps = list(ancestry(step))
        self._end = step
        self._config: BuildConfig | None = None
        if self._is_max:
            self._config = BuildConfig(solver.result)
        self._build_config = self._config.document(step) if self._config is not None else {}

    def version_0_2(self) -> Json:
        source, parameters, metadata = self._config_source(), self._parameters(), self._metadata()
        completeness = {
            "parameters": not self._has_private(),
            "environment": True,
            "materials": not self._locals(),
        }
        return {
            "builder": {"id": self._asked.builder_id},
            "buildType": _BUILD_TYPE,
            "materials": self._materials(),
            "invocation": {
                "configSource": source,
                "parameters": parameters,
                "environment": {"platform": str(Platform.of_host())},
            },
            **({"buildConfig": self._build_config} if self._build_config else {}),
            "metadata": {
                "buildInvocationID": self._solver.id,
                "buildStartedOn": rfc3339(self._solver.started_ns),
                "buildFinishedOn": rfc3339(time.time_ns()),
                "completeness": completeness,
                "reproducible": self._asked.is_reproducible,
                f"{_BUILD_TYPE}#metadata": metadata,
                **({f"{_BUILD_TYPE}#hermetic": True} if self._is_hermetic() else {}),
            },
        }

    def version_1(self) -> Json:
        """The same in the other version's places."""
        old = self.version_0_2()
        said, source = old["metadata"], old["invocation"]["configSource"]
        if "entryPoint" in source:
            source["path"] = source.pop("entryPoint")
        internal = {"buildConfig": self._build_config} if self._build_config else {}
        return {
            "buildDefinition": {
                "buildType": _BUILD_TYPE_1,
                "externalParameters": {"configSource": source, "request": old["invocation"]["parameters"]},
                "internalParameters": {**internal, "builderPlatform": old["invocation"]["environment"]["platform"]},
                "resolvedDependencies": old["materials"],
            },
            "runDetails": {
                "builder": old["builder"],
                "metadata": {
                    "invocationId": said["buildInvocationID"],
                    "startedOn": said["buildStartedOn"],
                    "finishedOn": said["buildFinishedOn"],
                    "buildkit_metadata": said[f"{_BUILD_TYPE}#metadata"],
                    **({"buildkit_hermetic": True} if self._is_hermetic() else {}),
                    "buildkit_completeness": {
                        "request": said["completeness"]["parameters"],
                        "resolvedDependencies": said["completeness"]["materials"],
                    },
                    **({"buildkit_reproducible": True} if self._asked.is_reproducible else {}),
                },
            },
        }

    def _materials(self) -> list[Json]:
        """Return what came from elsewhere, but for the client's files: images, then git, then addresses."""
        images, git, http = {}, {}, {}
        for each in self._steps:
            if isinstance(each, ImageSource):
                resolved = self._solver.resolved.get((each.digest_ref, each.platform))
                if resolved is not None:
                    reference = parse(each.digest_ref)
                    digest = reference.digest or digest_of(resolved.config_bytes)
                    images[each.digest_ref] = _material(_purl(reference, str(each.platform)), digest)
            elif isinstance(each, HttpSource):
                http[each.url] = _material(
                    redacted(each.url), each.checksum or self._solver.checksums.get(each.digest, "")
                )
            elif isinstance(each, GitSource):
                uri = f"{redacted(each.url)}{each.ref and '#'}{each.ref}"
                commit = each.checksum or self._solver.checksums.get(each.digest, "")
                git[uri] = {"uri": uri, "digest": {"sha256" if len(commit) == 64 else "sha1": commit}}
        return [found[key] for found in (images, git, http) for key in sorted(found)]

    def _locals(self) -> list[str]:
        return sorted({*self._solver.locals, *(each.local for each in self._steps if isinstance(each, LocalSource))})

    def _is_hermetic(self) -> bool:
        return not self._locals() and not any(isinstance(each, Run) and each.network != "none" for each in self._steps)

    def _arguments(self) -> dict[str, str]:
        options = self._asked.request.options
        dropped = {*_OF_THE_HOST, "filename", options.get("contextkey") or "context"}
        return {
            name: redacted(value) if name.startswith("context:") else value
            for name, value in sorted(options.items())
            if name not in dropped and not name.startswith(("attest:", "vcs:"))
        }

    def _has_private(self) -> bool:
        """Whether something that was given is left out."""
        return not self._is_max and any(name.startswith(_PRIVATE) for name in self._arguments())

    def _parameters(self) -> Json:
        told: Json = {"frontend": "dockerfile.v0" if self._asked.result.filename else ""}
        told["args"] = {
            name: value for name, value in self._arguments().items() if self._is_max or not name.startswith(_PRIVATE)
        }
        if self._is_max:
            told["secrets"] = self._mounted(SecretMount)
            told["ssh"] = self._mounted(SshMount)
        told["locals"] = [{"name": name} for name in self._locals()]
        return {name: value for name, value in told.items() if value}

    def _mounted(self, kind: type[SecretMount] | type[SshMount]) -> list[Json]:
        """Return what commands asked the client for; one that is required anywhere is not optional."""
        found: dict[str, bool] = {}
        for each in self._steps:
            for mount in each.mounts if isinstance(each, Run) else ():
                if isinstance(mount, kind):
                    found[mount.id] = found.get(mount.id, False) or mount.is_required
        return [{"id": id, **({} if found[id] else {"optional": True})} for id in sorted(found)]

    def _config_source(self) -> Json:
        options = self._asked.request.options
        said: Json = {}
        context = options.get(options.get("contextkey") or "context", "")
        if context:
            uri = redacted(context)
            known = next((each for each in self._materials() if each["uri"] == uri), {"uri": uri})
            said.update(known)
        if filename := options.get("filename"):
            said["entryPoint"] = filename
        return said

    def _metadata(self) -> Json:
        options = self._asked.request.options
        vcs = {
            name.removeprefix("vcs:"): redacted(text)
            for name, text in options.items()
            if name.startswith("vcs:") and text
        }
        told: Json = {"vcs": vcs} if vcs else {}
        if self._config is None or self._end is None:
            return told
        if self._asked.result.filename:
            told["source"] = {"locations": self._config.locations(), "infos": [self._info()]}
        if layers := self._chains(self._config):
            told["layers"] = layers
        return told

    def _info(self) -> Json:
        """Return the Dockerfile and where it is from."""
        result = self._asked.result
        data = base64.b64encode(result.source).decode()
        own = BuildConfig(self._solver.result).document(result.source_step)
        return {"filename": result.filename, "language": "Dockerfile", "data": data, **own}

    def _chains(self, config: BuildConfig) -> Json:
        """Return the layers that steps resulted in, of those whose blobs are there."""
        context, found = self._solver.context, {}
        for digest, step in config.made.items():
            if isinstance(step, ImageSource):
                resolved = self._solver.resolved.get((step.digest_ref, step.platform))
                layers = resolved.config.diff_ids if resolved is not None else []
            else:
                record = context.cache.get(self._solver.keys.get(digest, ""))
                layers = record.layers if record is not None else []
            try:
                names = context.snapshots.current(layers)
                chain = [self._layers.get(name) or blob_of(context, name) for name in names]
            except errors.NotFound:
                continue
            if chain:
                found[f"step{config.numbers[digest]}:0"] = [chain]
        return found


def _material(uri: str, digest: str) -> Json:
    return {"uri": uri, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _purl(reference: Reference, platform: str) -> str:
    return f"pkg:docker/{reference.familiar_name}@{reference.tag or 'latest'}?platform={quote(platform, safe='')}"
