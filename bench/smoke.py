#!/usr/bin/env python3
"""A short run of every benchmark, so that none of them rots. Looks at no figure: prints TAP, ok when it ran."""
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RUNS = [
    ["drain", "--messages", "20000", "--rounds", "1"],
    ["http", "--messages", "2000", "--rounds", "1"],
    ["latency", "--seconds", "1", "--silence", "1"],
    ["writers", "--rounds", "1", "--seconds", "0.5", "--backlog", "20000"],
    ["backlog", "--messages", "100000", "--small", "50000", "--rounds", "1"],
    ["footprint", "--idle", "1"],
    ["insert", "--rounds", "1", "--seconds", "1"],
    ["engine", "--messages", "100000"],
]
DEADLINE_S = 120


def main():
    failed = 0
    for number, (name, *arguments) in enumerate(RUNS, 1):
        try:
            done = subprocess.run([str(HERE / name), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, check=False)
            status, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            status, output = f"none within {DEADLINE_S} s", (error.output or b"").decode(errors="replace")
        # The machine may be too busy for a run that counts; that it says so is what it should do.
        if status == 0 or "this run does not count" in output:
            print(f"ok {number} - bench/{name} runs")
        else:
            failed += 1
            print(f"not ok {number} - bench/{name} runs\n# exit status {status}")
        print("".join(f"# {line}\n" for line in output.splitlines()), end="")
    print(f"1..{len(RUNS)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
