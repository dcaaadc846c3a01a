#!/usr/bin/env python3
"""A build where something is missing says in one line what, and which package has it. Prints TAP.

usage: test_build.py [NAME...]
"""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from tap import check, main  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Meson finds libcrypto also where pkg-config does not.
PACKAGES = {"sqlite3": "libsqlite3-dev", "libcurl": "libcurl4-openssl-dev", "jansson": "libjansson-dev", "libmicrohttpd": "libmicrohttpd-dev"}


def descriptions():
    """The system's *.pc files by name."""
    shown = subprocess.run(["pkg-config", "--variable", "pc_path", "pkg-config"], capture_output=True, text=True, check=True).stdout
    found = {}
    for directory in shown.strip().split(":"):
        for path in pathlib.Path(directory).glob("*.pc"):
            found.setdefault(path.stem, path)
    return found


def build_without(names):
    """What scripts/build says where pkg-config does not know `names`."""
    with tempfile.TemporaryDirectory(prefix="outbox-build-") as name:
        directory = pathlib.Path(name)
        known = directory / "known"
        known.mkdir()
        for stem, path in descriptions().items():
            if stem not in names:
                (known / path.name).symlink_to(path)
        # Meson would ask CMake next, which has descriptions of its own.
        (directory / "native").write_text("[binaries]\ncmake = '/bin/false'\n")
        done = subprocess.run([ROOT / "scripts/build", directory / "build", "--", "-Dtests=false", "--native-file", directory / "native"],
                              cwd=ROOT, env=dict(os.environ, PKG_CONFIG_LIBDIR=str(known)), capture_output=True, text=True)
        check(done.returncode == 1, f"it ended with {done.returncode}: {done.stderr[-500:]}")
        lines = done.stderr.splitlines()
        check(len(lines) == 1 and not done.stdout, f"not one line: {done.stdout}{done.stderr[-1000:]}")
        return lines[0]


def one_library_is_missing():
    line = build_without(["libmicrohttpd"])
    check(line == "build: not found, or too old: libmicrohttpd 0.9.70; on Debian: apt-get install libmicrohttpd-dev", line)


def several_libraries_are_missing():
    line = build_without(list(PACKAGES))
    check(line.endswith("apt-get install " + " ".join(PACKAGES.values())), line)
    for name in PACKAGES:
        check(f"{name} " in line, line)


CASES = [(case.__name__.replace("_", " "), case) for case in (one_library_is_missing, several_libraries_are_missing)]

if __name__ == "__main__":
    sys.exit(main(CASES))
