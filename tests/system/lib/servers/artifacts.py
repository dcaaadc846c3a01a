"""Servers that no Debian package has come as Maven artifacts. They are fetched once, by the Maven client, and unpacked into a directory
beside what is built."""
import contextlib
import fcntl
import io
import os
import pathlib
import platform
import subprocess
import tarfile
import tempfile
import zipfile

from servers.server import ServerError

ROOT = pathlib.Path(__file__).resolve().parents[4]


def cache():
    # One for all builds of this tree: what is fetched is the same.
    path = pathlib.Path(os.environ.get("OUTBOX_SERVERS", ROOT / "build" / "servers")).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path):
    """Several tests may want the same artifact at once; one fetches it and the others wait."""
    with open(path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(artifact, to):
    """`artifact`: group:name:version, one jar; into the directory `to`."""
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={to}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=to, check=False)
    except FileNotFoundError:
        raise ServerError("mvn is not installed: scripts/need maven") from None
    if done.returncode != 0:
        raise ServerError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return next(pathlib.Path(to).glob("*.jar"))


def unpack(jar, to):
    """The archive that the jar holds."""
    with zipfile.ZipFile(jar) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".txz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name)), mode="r:xz") as inner:
            inner.extractall(to)


def postgres(version):
    """The directory of that version's programs."""
    machine = {"x86_64": "amd64", "aarch64": "arm64v8"}.get(platform.machine(), platform.machine())
    path = cache() / f"postgres-{version}"
    with locked(f"{path}.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache()) as work:
                jar = fetch(f"io.zonky.test.postgres:embedded-postgres-binaries-linux-{machine}:{version}", work)
                whole = pathlib.Path(work) / "whole"
                unpack(jar, whole)
                whole.chmod(0o755)
                whole.rename(path)
    return path / "bin"
