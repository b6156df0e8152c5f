"""The differences that are meant: where, and why. README's "Differences from dockerd" is made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """`step` and `path` are regular expressions that match whole; an entry that nothing needs is an error, unless what
    it explains is chance.
    """

    step: str
    path: str
    why: str
    is_chance: bool = False

    def explains(self, step: str, path: str) -> bool:
        return bool(re.fullmatch(self.step, step, re.DOTALL) and re.fullmatch(self.path, path, re.DOTALL))


_OURS = "it is another program, which speaks a newer API"
_MISTAKE = "a value that cannot be read is the client's mistake: 400 where dockerd 28 answers 500"
_MISSING = "not built yet: 501"
_FAILED_START = (
    "a start that fails: dockerd tears down what it had not made, connects later, or the client hangs up earlier"
)

REASONS: tuple[Reason, ...] = (
    Reason(
        "GET /version", r"body\.(ApiVersion|BuildTime|Components|GitCommit|GoVersion|Platform\.Name|Version)", _OURS
    ),
    Reason("GET /v1.99/info", r"body\.message", _OURS),
    Reason("GET /v1.(23|99)/.*", r"headers\.docker-experimental", "the header is in every answer"),
    Reason("GET /info", r"body\.(ID|NFd|NGoroutines|ServerVersion)", _OURS),
    Reason(
        "GET /info", r"body\.(Containerd|RuncCommit\.ID|InitBinary)", "there is no containerd, no runc, no docker-init"
    ),
    Reason("GET /info", r"body\.Runtimes\..*", "the runtime is lightship's own, also by the names of dockerd's"),
    Reason(
        "GET /info", r"body\.DefaultAddressPools", "networks get /24 pools; dockerd does not tell of its built-in ones"
    ),
    Reason(
        "GET /info", r"body\.DriverStatus", "the file system's own name, and what overlay mounts here are made with"
    ),
    Reason("GET /info", r"body\.FirewallBackend\.Driver", "nftables where the kernel and libnftables are there"),
    Reason("GET /info", r"body\.KernelMemoryTCP", "this limit, gone from the API, cannot be set"),
    Reason("GET /info", r"body\.LiveRestoreEnabled", "live-restore is on unless told otherwise"),
    Reason("GET /info", r"body\.Plugins\.Log", "no awslogs, no splunk"),
    Reason("GET /info", r"body\.Plugins\.Network", "no overlay networks: swarm is missing"),
    Reason("GET /info", r"body\.RegistryConfig\.Mirrors", "an empty list is [], not null"),
    Reason(r"GET /system/df", r"body\.Images\[\d\]\.RepoDigests", "an empty list is [], not null"),
    Reason(
        r"(GET /|\$ )system[/ ]df", r"body\.LayersSize|out\[1\]", "the blobs that are kept of an image count, once each"
    ),
    Reason(r"GET /events\?(since|until)=x", "status", _MISTAKE),
    Reason(r"GET /containers/(json\?limit|lo/logs\?stdout=1&since)=x", "status", _MISTAKE),
    Reason(r'POST /containers/create .*"Binds".*', "status", _MISTAKE),
    Reason(r"POST /containers/life/stop\?t=x", "status", _MISTAKE),
    Reason("POST /plugins/nope/enable", "status", _MISTAKE),
    Reason(r'GET /networks\?filters=\{"type":\["x"\]\}', "status", _MISTAKE),
    Reason("POST /images/create", "status", _MISTAKE),
    Reason(r"POST /auth( \{bad)?", r"status|body\.message", "a body that is no JSON is refused as everywhere else"),
    Reason("POST /containers/frozen/unpause", "status", "a container that is not paused is a conflict: 409, not 500"),
    Reason(
        ".*", r"body\.GraphDriver\.Data\..*", "snapshots are numbered, and a running container's root is its process's"
    ),
    Reason(".*", r"body\.NetworkSettings\.SandboxKey", "a container's network namespace is its process's"),
    Reason(
        r"GET /containers/json.*",
        r"body\[0\]\.Mounts\[\d\]\.Source",
        "the list names a volume's directory as inspect does",
    ),
    Reason(
        "POST /containers/nope/attach",
        r"body|headers\..*",
        "an error before the stream begins is JSON, as everywhere else",
    ),
    Reason(r"\$ run --rm busybox /etc", r"err\[0\]", "newer runc's text"),
    Reason(
        "events of (containers: (bodies|run).*|networks: (a container|ports).*|volumes: used)",
        r"events\.(container (destroy|detach|attach|create|die|start)|network (dis)?connect|volume (un)?mount) .*",
        _FAILED_START,
    ),
    Reason(r"GET /images/.*/json", r"body\.Metadata\.LastTagTime", "loading an image tags it"),
    Reason(
        r"\$ (images --digests --no-trunc|system df -v)",
        r"out\[\d\]",
        "dockerd's order of images of the same age is chance",
        is_chance=True,
    ),
    Reason("POST /images/busybox/tag", r"status|body|headers\.content-type", "a tag without a name is refused"),
    Reason("POST /images/load", r"body\..*", "an empty archive is called one"),
    Reason('POST /networks/create {"Name":"bridge"}', r"body\.message", "no blank at the end"),
    Reason(
        "POST /networks/create .*Gateway.*",
        r"body\.message",
        "the text names what is wrong, as the CLI's own check does",
    ),
    Reason(r"\$ network inspect n4", r"out\[3[0-2]\]", "the order of members is the newest API's"),
    Reason("GET /containers/web/json", r"body\.NetworkSettings\.Networks\.c1\.IPPrefixLen", "networks get /24 pools"),
    Reason(
        r"\$ run .*type=volume,dst=/t,readonly .*",
        "code|err",
        "an anonymous volume may be read-only, as from Docker 29 on",
    ),
    Reason(
        "events of volumes: used",
        r"events\.volume (create|destroy) .*",
        "of the anonymous volume that dockerd 28 refuses",
    ),
    Reason(
        r"GET /(images/|system/df).*",
        r"body(\[\d\]|\.Images\[\d\])?\.Descriptor",
        "the manifest of an image is known, as with containerd's image store",
    ),
    Reason(r"\$ images --tree", "out", "with a manifest known, its platforms are shown"),
    Reason("POST /build/cancel.*", r"headers\.content-type", "an empty answer has no type"),
    Reason("POST /swarm/join {}", r"status|body\.message", _MISSING),
)
