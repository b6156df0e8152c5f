"""Networks."""

from __future__ import annotations

from starlette.responses import Response

from ...engine.errors import InvalidArgument
from ...openapi.types.answers import NetworkPruneResponse
from ...openapi.types.networks import NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest
from ..call import Call

_GO_BOOLEANS = {"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False", ""}


async def listing(call: Call) -> Response:
    return call.json(call.engine.networks.list(call.filters()))


async def inspect(call: Call) -> Response:
    verbose = call.text("verbose")
    if verbose not in _GO_BOOLEANS:
        problem = f'strconv.ParseBool: parsing "{verbose}": invalid syntax'
        raise InvalidArgument(f"invalid value for verbose: {verbose}: {problem}")
    return call.json(call.engine.networks.inspect(call.path["id"], scope=call.text("scope")))


async def create(call: Call) -> Response:
    request = await call.body(NetworkCreateRequest)
    return call.json(await call.engine.networks.create(request), 201)


async def connect(call: Call) -> Response:
    request = await call.body(NetworkConnectRequest)
    await call.engine.containers.connect(call.path["id"], request)
    return call.empty(200)


async def disconnect(call: Call) -> Response:
    request = await call.body(NetworkDisconnectRequest)
    await call.engine.containers.disconnect(call.path["id"], request)
    return call.empty(200)


async def remove(call: Call) -> Response:
    await call.engine.networks.remove(call.path["id"])
    return call.empty()


async def prune(call: Call) -> Response:
    deleted = await call.engine.networks.prune(call.filters())
    return call.json(NetworkPruneResponse(networks_deleted=list(deleted) or None))


HANDLERS = {
    "NetworkList": listing,
    "NetworkInspect": inspect,
    "NetworkCreate": create,
    "NetworkConnect": connect,
    "NetworkDisconnect": disconnect,
    "NetworkDelete": remove,
    "NetworkPrune": prune,
}
