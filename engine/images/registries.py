"""What clients ask of registries beyond pulling and pushing: to be let in, what a name stands for, what there is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from ...openapi.types.images import OCIDescriptor, OCIPlatform
from ...openapi.types.registries import DistributionInspect, ImageSearchResponseItem
from ..errors import Error, Internal, InvalidArgument, Unauthorized
from ..filters import Filters
from ..numbers import natural
from .config import Index
from .references import DEFAULT_DOMAIN, Reference
from .registry import blobs, manifests
from .registry.auth import Authorizer, parse_challenges, read_limited
from .registry.credentials import Credentials
from .registry.failures import Refused, as_engine_error
from .registry.hosts import INDEX_HOST, Endpoint, endpoints, is_insecure_host, server_host
from .registry.session import is_fallback, open_session
from .registry.transport import ANSWER_S, open_transport

if TYPE_CHECKING:
    from ..config import RegistryConfig
    from .images import Images

_SEARCH_FILTERS = ("is-automated", "is-official", "stars")
_MAX_ANSWER = 8 << 20
_DEFAULT_RESULTS = 25


class _ConfigPlatform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _SearchAnswer(msgspec.Struct):
    results: list[ImageSearchResponseItem] = []


async def login(config: RegistryConfig, credentials: Credentials) -> str:
    """Check a name and password at a registry; return the identity token where it gives one."""
    host = server_host(credentials.server_address) if credentials.server_address else INDEX_HOST
    failed: Error = Internal(f"no endpoints found for {host}")
    for endpoint in await endpoints(config, host, with_mirrors=False):
        try:
            return await _login(config, endpoint, credentials)
        except Unauthorized:
            raise
        except Error as error:
            failed = error
    raise failed


async def _login(config: RegistryConfig, endpoint: Endpoint, credentials: Credentials) -> str:
    url = f"{endpoint.url}/v2/"
    transport = await open_transport(config, endpoint)
    try:
        authorizer = Authorizer(transport, credentials, (), login=True)
        async with transport.stream("GET", url, wait_s=ANSWER_S) as answer:
            if answer.status_code == 401:
                authorizer.challenge(parse_challenges(answer.headers.get_list("www-authenticate")))
        try:
            header = await authorizer.header()
        except Refused as error:
            kind = Unauthorized if error.code == "UNAUTHORIZED" else Internal
            raise kind(f'Get "{url}": {error}') from error
        async with transport.stream("GET", url, wait_s=ANSWER_S, headers=header) as answer:
            if answer.status_code != 200:
                status = f"{answer.status_code} {answer.reason_phrase}"
                raise Internal(f"login attempt to {url} failed with status: {status}")
        return authorizer.identity_token
    finally:
        await transport.close()


async def distribution(images: Images, reference: Reference, credentials: Credentials) -> DistributionInspect:
    """Ask a registry what a name stands for, and for what platforms."""
    reference = reference.with_default_tag()
    failed: Error = Internal(f"no endpoints found for {reference.familiar}")
    for endpoint in await endpoints(images.registry, reference.domain, with_mirrors=True):
        try:
            opened = open_session(images.registry, endpoint, reference.path, credentials, actions="pull")
            async with opened as session:
                found = await manifests.find(session, reference)
                digest = found.digest if found is not None else None
                wanted = digest or reference.tag or ""
                document = await manifests.fetch(session, reference, wanted, digest=digest)
                if document.is_index:
                    platforms = _platforms(manifests.decoded(document.data, Index))
                else:
                    config = manifests.parse_manifest(document.data).config
                    attempts = images.registry.attempts
                    platforms = _platform(await blobs.fetch_config(session, config, attempts))
                descriptor = OCIDescriptor(
                    media_type=document.media_type, digest=document.digest, size=len(document.data)
                )
                return DistributionInspect(descriptor=descriptor, platforms=platforms)
        except Error as error:
            failed = error
            if not is_fallback(error, endpoint):
                break
    raise as_engine_error(failed)


def _platforms(index: Index) -> list[OCIPlatform]:
    found = []
    for entry in index.manifests or []:
        if entry.platform is not None:
            platform = OCIPlatform(architecture=entry.platform.architecture, os=entry.platform.os)
            if entry.platform.variant:
                platform.variant = entry.platform.variant
            found.append(platform)
    return found


def _platform(config: bytes) -> list[OCIPlatform]:
    has = manifests.decoded(config, _ConfigPlatform)
    platform = OCIPlatform(architecture=has.architecture, os=has.os)
    if has.variant:
        platform.variant = has.variant
    return [platform] if has.os or has.architecture else []


async def search(
    config: RegistryConfig, term: str, *, limit: int | None, filters: Filters, credentials: Credentials
) -> list[ImageSearchResponseItem]:
    """Search a registry that has the index API of Docker Hub."""
    filters.validate(_SEARCH_FILTERS)
    wants_automated = filters.boolean("is-automated", default=False)
    official = filters.boolean("is-official", default=False) if "is-official" in filters else None
    stars = 0
    for value in filters.get("stars"):
        if (number := natural(value)) is None:
            raise InvalidArgument(f"invalid filter 'stars={value}'")
        stars = max(stars, number)
    if wants_automated:
        return []
    if "://" in term:
        raise InvalidArgument(f"invalid repository name: repository name ({term}) should not have a scheme")
    wanted = limit or _DEFAULT_RESULTS
    found = await _search(config, term, wanted, credentials)
    for result in found:
        # dockerd tells of none that it is automated.
        result.is_automated = False
    return [
        result
        for result in found
        if result.star_count >= stars and (official is None or result.is_official == official)
    ]


async def _search(
    config: RegistryConfig, term: str, limit: int, credentials: Credentials
) -> list[ImageSearchResponseItem]:
    host, separator, name = term.partition("/")
    if not separator or not ("." in host or ":" in host or host == "localhost"):
        host, name = INDEX_HOST, term.removeprefix("library/")
    candidates = [Endpoint(f"https://{host}")]
    if host not in (INDEX_HOST, DEFAULT_DOMAIN) and await is_insecure_host(config, host):
        candidates = [Endpoint(f"https://{host}", True), Endpoint(f"http://{host}", True)]
    endpoint = candidates[0] if len(candidates) == 1 else await _reachable(config, candidates)
    if not 1 <= limit <= 100:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, 100]")
    transport = await open_transport(config, endpoint)
    try:
        url = f"{endpoint.url}/v1/search?{urlencode({'q': name, 'n': limit})}"
        headers = {"X-Docker-Token": "true"}
        if credentials.username:
            headers["Authorization"] = credentials.basic()
        async with transport.stream("GET", url, headers=headers) as answer:
            if answer.status_code != 200:
                raise Internal(f"Unexpected status code {answer.status_code}")
            data = await read_limited(answer, _MAX_ANSWER)
    finally:
        await transport.close()
    try:
        return msgspec.json.decode(data, type=_SearchAnswer).results
    except msgspec.DecodeError as error:
        raise Internal(f"error decoding registry search results: {error}") from error


async def _reachable(config: RegistryConfig, candidates: list[Endpoint]) -> Endpoint:
    """Return the first endpoint that answers; refuse the host where none does, in dockerd's words."""
    failures = []
    for endpoint in candidates:
        transport = await open_transport(config, endpoint)
        try:
            async with asyncio.timeout(ANSWER_S), transport.stream("GET", f"{endpoint.url}/v1/_ping"):
                return endpoint
        except (Error, TimeoutError) as error:
            failures.append(str(error))
        finally:
            await transport.close()
    https, http = failures
    raise InvalidArgument(
        f'invalid registry endpoint "{candidates[1].url}/v1/". HTTPS attempt: {https}. HTTP attempt: {http}'
    )
