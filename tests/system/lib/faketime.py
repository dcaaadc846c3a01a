"""Another clock for a process, by libfaketime: what its environment must hold. Only the wall clock is off, not the monotonic one."""
import pathlib

from tap import check


def environment(**settings):
    found = list(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    check(found, "libfaketime is not installed: scripts/need test")
    # Preloaded, since the program that does it has the relay as a child of its own.
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **settings}
