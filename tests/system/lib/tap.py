"""TAP for tests of real processes: each case is a function, run in a process of its own, several at a time."""
import concurrent.futures
import os
import sys
import traceback

CASE_DEADLINE_S = 300


class Skip(Exception):
    """Raised by a case that cannot run here; the text is the reason."""


def check(condition, what):
    """What a case demands; the text says what was seen."""
    if not condition:
        raise AssertionError(what)


def _run(case, arguments):
    try:
        return "ok", case(*arguments) or ""
    except Skip as skip:
        return "skip", str(skip)
    except AssertionError as failure:
        return "not ok", f"{failure}\n{traceback.format_exc()}"
    except Exception:  # whatever it is, the other cases go on
        return "not ok", traceback.format_exc()


def main(cases, at_once=3):
    """`cases`: (name, function, arguments...) each. The words on the command line choose among the names."""
    chosen = [case for case in cases if not sys.argv[1:] or any(word in case[0] for word in sys.argv[1:])]
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    with concurrent.futures.ProcessPoolExecutor(min(at_once, os.cpu_count() + 1)) as pool:
        futures = [pool.submit(_run, case[1], case[2:]) for case in chosen]
        for number, (case, future) in enumerate(zip(chosen, futures), 1):
            result, text = future.result()
            failed += result == "not ok"
            if result == "skip":
                print(f"ok {number} - {case[0]} # SKIP {text}", flush=True)
                continue
            for line in text.splitlines():
                print(f"# {line}")
            print(f"{result} {number} - {case[0]}", flush=True)
    return 1 if failed else 0
