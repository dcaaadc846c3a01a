#!/usr/bin/env python3
"""Ends what a test has started once the test itself has ended, however it did: even by SIGKILL no server, and no directory of one,
may be left behind.

A process of its own, in a session of its own, that reads from the test what to hold: `process PID SIGNAL`, `directory PATH`, `forget PATH`.
At the end of its input, which comes when the test is gone, it signals the processes, waits for them, and removes the directories.
"""
import os
import select
import shutil
import signal
import subprocess
import sys

GRACE_S = 10


def end(held):
    """`held`: process descriptors, which are never those of a later process with the same number, and the signal for each."""
    for descriptor, number in held.items():
        tell(descriptor, number)
    for descriptor in held:
        if not select.select([descriptor], [], [], GRACE_S)[0]:
            tell(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], GRACE_S)


def tell(descriptor, number):
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass


def keep(lines):
    held, directories = {}, []
    for line in lines:
        verb, rest = line.rstrip("\n").split(" ", 1)
        if verb == "process":
            pid, number = map(int, rest.split())
            try:
                held[os.pidfd_open(pid)] = number
            except ProcessLookupError:
                pass
        elif verb == "directory":
            directories.append(rest)
        elif rest in directories:
            directories.remove(rest)
        for descriptor in [it for it in held if select.select([it], [], [], 0)[0]]:
            os.close(descriptor)
            del held[descriptor]
    end(held)
    for path in directories:
        shutil.rmtree(path, ignore_errors=True)


class Keeper:
    """The test's end of it. One a process: a child that was forked needs one of its own."""
    mine = None

    def __init__(self):
        self.pid = os.getpid()
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, start_new_session=True, text=True)

    @classmethod
    def say(cls, line):
        if cls.mine is None or cls.mine.pid != os.getpid():
            cls.mine = Keeper()
        cls.mine.process.stdin.write(line + "\n")
        cls.mine.process.stdin.flush()


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    keep(sys.stdin)
