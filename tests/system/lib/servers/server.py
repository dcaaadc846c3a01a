"""What all servers of tests have in common: a directory and a free port on loopback of their own, a process that is ended with the test,
and a user without rights for those that refuse to run as root."""
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from servers.keeper import Keeper

START_S = 30


class ServerError(Exception):
    """A server that cannot be had or does not start; the text says why, with the end of its log."""


def free_port():
    """Below the ports that the kernel gives to outgoing connections: one of those could take it while its server restarts."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as text:
        lowest = int(text.read().split()[0])
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(min(10240, lowest // 2), lowest)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def unprivileged(*names):
    """The first of these users that exists, or nobody, when we are root; else ourselves."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    for name in [*names, "nobody"]:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("there is no user without rights")


def may_run(user, program):
    """Whether that user comes as far as the program: a home directory of root's is often shut."""
    return os.getuid() == user.pw_uid or subprocess.run(
        ["test", "-x", str(program)], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=False).returncode == 0


class Server:
    """A kind of server names itself, says how it is run (`command`) and asked whether it is there (`ready`)."""
    kind = None
    stop_signal, kill_signal = signal.SIGTERM, signal.SIGKILL
    users = ()

    def __init__(self):
        self.user = unprivileged(*self.users)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"outbox-{self.kind}-"))
        Keeper.say(f"directory {self.directory}")
        os.chown(self.directory, self.user.pw_uid, self.user.pw_gid)
        self.log_path = self.directory / "log"
        self.port, self.process, self.environment = None, None, {}

    def command(self):
        raise NotImplementedError

    def ready(self):
        raise NotImplementedError

    def may_try_again(self, log):
        """Whether what a start that failed has said goes away by itself."""
        return False

    @property
    def url(self):
        raise NotImplementedError

    @property
    def as_user(self):
        if os.getuid() == self.user.pw_uid:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def run(self, *command):
        """One of the server's own tools, to its end, as the server's user."""
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, cwd=self.directory, check=False, **self.as_user)
        if done.returncode != 0:
            raise ServerError(f"{command[0]}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    def launch(self):
        """Starts the process, which may not be ready."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in self.command()], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.directory, start_new_session=True,
                                            env={**os.environ, "LC_ALL": "C.UTF-8", **self.environment}, **self.as_user)
        Keeper.say(f"process {self.process.pid} {int(self.kill_signal)}")

    def start(self, deadline_s=START_S):
        """Starts it for the first time, or again on the same port. Another port is tried if somebody was faster to take the first."""
        first, until = self.port is None, time.monotonic() + deadline_s
        while True:
            self.port = self.port or free_port()
            before = self.log_path.stat().st_size if self.log_path.exists() else 0
            self.launch()
            if self.wait_ready(deadline_s):
                return self
            log = self.log_path.read_text(errors="replace")[before:]
            self.kill()
            if first and "ddress already in use" in log:
                self.port = None
            elif not (not first and self.may_try_again(log) and time.monotonic() < until):
                raise ServerError(f"{self.kind} does not start:\n{log[-3000:]}")
            time.sleep(0.05)

    def wait_ready(self, deadline_s):
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                return False
            if self.ready():
                return True
            time.sleep(0.02)
        return False

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=None, deadline_s=START_S):
        """Ends the process, in its own time; the directory stays, so that it can be started again."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number or self.stop_signal)
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerError(f"{self.kind} does not stop within {deadline_s} s") from None

    def kill(self):
        """Ends it as a crash would."""
        self.stop(self.kill_signal)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def remove(self):
        """Ends it and takes its directory away."""
        try:
            self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
            Keeper.say(f"forget {self.directory}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
