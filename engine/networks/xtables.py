"""Making libxtables know the targets of address translation in both address families, in one process.

An extension registers, when it is loaded, the targets of the family that is in use then, and is loaded once. From
iptables 1.8.9 on, translation is one extension for both families: whichever family came second would not find it.
Called by the iptables backend before its first rule.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil

import iptc
from iptc import xtables as library


@functools.cache
def register_translation() -> None:
    """Load the extension for IPv4 as always, and a copy of it, which is another one to the loader, for IPv6."""
    iptc.Rule().create_target("MASQUERADE")
    path = os.path.join(library._xtables_libdir, "libxt_NAT.so")
    if not os.path.exists(path):
        return  # an older version, with one file a family
    copy_fd = os.memfd_create("libxt_NAT", os.MFD_CLOEXEC)
    try:
        with open(path, "rb") as original, open(copy_fd, "wb", closefd=False) as copy:
            shutil.copyfileobj(original, copy)
        library.xtables(library.NFPROTO_IPV6)
        library.xtables._xtables_set_nfproto(library.NFPROTO_IPV6)
        ctypes.CDLL(f"/proc/self/fd/{copy_fd}")
    finally:
        os.close(copy_fd)
