"""Small disks that a test fills."""
import contextlib
import pathlib
import subprocess
import tempfile

from tap import Skip

BLOCK = 4096


@contextlib.contextmanager
def small_disk(size="4m"):
    """The directory of a tmpfs of its own."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="outbox-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True, check=False)
    if mounted.returncode != 0:
        directory.rmdir()
        raise Skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()


def fill(disk, leave=0):
    """Leaves so many bytes free."""
    with open(disk / "filler", "wb", buffering=0) as filler:
        with contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * BLOCK)
        filler.truncate(max(0, filler.tell() - leave))


def empty(disk):
    (disk / "filler").unlink()
