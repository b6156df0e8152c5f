"""What `lightship run` runs for a test run: says where the engine and its network are, and ends when nobody holds it.

    python -m lightship.api.command.hold FD

The other end of the descriptor's socket gets DOCKER_HOST and the network namespace; its end is the end of the engine.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> int:
    with socket.socket(fileno=int(sys.argv[1])) as holder:
        netns_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(holder, [os.environ["DOCKER_HOST"].encode()], [netns_fd])
        holder.recv(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
