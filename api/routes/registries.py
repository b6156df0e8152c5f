"""Registries: logging in, searching, what a name stands for there."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ...engine.errors import InvalidArgument
from ...engine.images.references import parse_any
from ...engine.images.registry.credentials import Credentials, decode
from ...openapi.types.system import AuthConfig, AuthResponse
from ..call import Call


async def login(call: Call) -> Response:
    given = msgspec.to_builtins(await call.body(AuthConfig))
    token = await call.engine.images.login(msgspec.convert(given, Credentials))
    return call.json(AuthResponse(status="Login Succeeded", identity_token=token))


async def distribution(call: Call) -> Response:
    name = call.path["name"]
    reference = parse_any(name)
    if isinstance(reference, str):
        raise InvalidArgument("no manifest found for full image ID")
    return call.json(await call.engine.images.distribution(reference, credentials=_credentials(call)))


async def search(call: Call) -> Response:
    found = await call.engine.images.search(
        call.text("term"), limit=call.integer("limit"), filters=call.filters(), credentials=_credentials(call)
    )
    return call.json(found)


def _credentials(call: Call) -> Credentials:
    return decode(call.headers.get("x-registry-auth", ""))


HANDLERS = {"SystemAuth": login, "DistributionInspect": distribution, "ImageSearch": search}
