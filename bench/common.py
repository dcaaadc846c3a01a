"""What the benchmark commands share: a scratch directory, the programs under test, and plain statistics.

Every benchmark measures two things side by side in one run and prints their ratio, since absolute figures of a shared machine
mean little. The build directory is build/, or what OUTBOX_BUILD names.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "system" / "lib"))

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("OUTBOX_BUILD", ROOT / "build")).resolve()
OUTBOX = BUILD / "outbox"
RECEIVER = BUILD / "bench" / "bench-receiver"
WRITER = BUILD / "bench" / "bench-writer"


@contextlib.contextmanager
def scratch():
    """A directory that is gone afterwards."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="outbox-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def fail(text):
    sys.exit(f"bench: {text}")


def run(*command):
    """Runs to the end; returns standard output. A failure ends the benchmark: its figures would mean nothing."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def running(*command, stop=signal.SIGTERM, **popen):
    """A process that is stopped afterwards."""
    child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, **popen)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(stop)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_for(condition, deadline_s, what):
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    return fail(f"waited {deadline_s} s for {what}")


@contextlib.contextmanager
def receiver(directory, *options):
    """A receiver on a free port; yields (url, process). The process prints its counts when it is stopped."""
    port_file = directory / f"port-{time.monotonic_ns()}"
    with running(RECEIVER, "--port-file", port_file, *options, stdout=subprocess.PIPE, text=True) as child:
        port = wait_for(lambda: port_file.exists() and port_file.read_text().strip(), 5, "the receiver")
        yield f"http://127.0.0.1:{port}/", child


def relay(database, sink, *options):
    return [OUTBOX, "relay", database.url, "--to", sink, "--log-level", "warn", *options]


def memory_kib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(rf"^{field}:\s+(\d+) kB", status.read(), re.M)[1])


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as list_of:
        return [int(word) for word in list_of.read().split()]


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


def median(values):
    return percentile(values, 50)


def show(measure, value, to_reach=""):
    print(f"{measure:<66} {value:>22}   {to_reach}", flush=True)
