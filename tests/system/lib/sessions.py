"""Replays a conversation of several psql sessions with a server, as a page shows it:

    T1=# BEGIN;
    T2=# SELECT count(*)
    T2-# FROM orders;
     count
    -------
         0
    (1 row)

What stands before `=#` is a session's name, `-#` goes on with its statement, and what follows up to the next prompt is what psql
answers. A session begins where its name comes first, and ends with the conversation."""
import re
import select
import subprocess
import time

PROMPT = re.compile(r"^(\w+)([=-])# ?(.*)$")
DEADLINE_S = 30
END = "--- that was all ---"


class Psql:
    def __init__(self, database, environment):
        self.process = subprocess.Popen(["psql", "-X", "-q", "-d", database], env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)

    def say(self, text):
        """Returns the lines of the answer."""
        self.process.stdin.write(f"{text}\n\\echo {END}\n".encode())
        answer, until = b"", time.monotonic() + DEADLINE_S
        while not answer.endswith(f"{END}\n".encode()):
            left = until - time.monotonic()
            if left < 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise TimeoutError(f"no answer within {DEADLINE_S} s to: {text}\n{answer.decode()}")
            data = self.process.stdout.read(65536)
            if not data:
                raise EOFError(f"psql ended at: {text}\n{answer.decode()}")
            answer += data
        return answer.decode().splitlines()[:-1]

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()


def steps(text):
    """Yields (session, statement, the answer's lines)."""
    step = None
    for line in text.splitlines():
        prompt = PROMPT.match(line)
        if prompt and prompt[2] == "=":
            if step:
                yield step
            step = (prompt[1], prompt[3], [])
        elif prompt:
            step = (step[0], f"{step[1]}\n{prompt[3]}", step[2])
        else:
            step[2].append(line)
    if step:
        yield step


def plain(lines):
    """Without what cannot be seen: spaces at the ends of lines, empty lines at the end."""
    return "\n".join(line.rstrip() for line in lines).rstrip()


def replay(text, database, environment):
    """Returns what went otherwise than the page says, "" if nothing did."""
    sessions = {}
    try:
        for name, statement, wanted in steps(text):
            if name not in sessions:
                sessions[name] = Psql(database, environment)
            seen = sessions[name].say(statement)
            if plain(seen) != plain(wanted):
                return f"{name}=# {statement}\n{plain(seen)}\n--- but the page says:\n{plain(wanted)}"
    except (TimeoutError, EOFError) as error:
        return str(error)
    finally:
        for session in sessions.values():
            session.close()
    return ""
