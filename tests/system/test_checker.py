#!/usr/bin/env python3
"""The checker of the system tests must see what it is there for: each broken promise, planted, is found and named."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from checker import check_promises  # noqa: E402
from recipient import Receipt  # noqa: E402
from tap import check, main  # noqa: E402

COMMITTED = [("a1", "a", 1), ("b1", "b", 1), ("a2", "a", 2), ("b2", "b", 2), ("a3", "a", 3)]
KEYS = {message_id: (key, number) for message_id, key, number in COMMITTED} | {"r1": ("a", 4)}


def story(text, dead=()):
    """What the checker says of receipts such as "a1 b1 a2": an id with "!" behind it was refused with 503."""
    receipts = [Receipt(word.rstrip("!"), *KEYS[word.rstrip("!")], 503 if "!" in word else 200, 0.0, "") for word in text.split()]
    try:
        return check_promises(COMMITTED, {"r1"}, receipts, set(dead), 1)
    except AssertionError as failure:
        return str(failure)[:2]


def case(text, expected, dead=()):
    check(story(text, dead) == expected, f"{text}: {story(text, dead)} instead of {expected}")


def another_body():
    wrong = Receipt("a1", "a", 2, 200, 0.0, "")
    try:
        check_promises(COMMITTED, set(), [wrong], set(), 1)
    except AssertionError as failure:
        check(str(failure).startswith("P4"), str(failure))
        return
    check(False, "a message with another's content was not seen")


CASES = [
    ("all in order", case, "a1 b1 a2 b2 a3", 0),
    ("keys in any order", case, "b1 b2 a1 a2 a3", 0),
    ("refused ones, then in order", case, "a1! a1 a2! b1 a2 b2 a3", 0),
    ("a duplicate within the window", case, "a1 b1 a2 a1 b2 a3", 1),
    ("more duplicates than the window allows", case, "a1 b1 a1 a1 a2 b2 a3", "P4"),
    ("a lost one", case, "a1 b1 a2 b2", "P2"),
    ("one that was only refused", case, "a1 b1 a2 b2 a3!", "P2"),
    ("a dead one is not lost", case, "a1 b1 b2 a3", 0, ("a2",)),
    ("a key out of order", case, "a1 b1 a3 a2 b2", "P3"),
    ("a retry that was overtaken", case, "a1! a2 a1 b1 b2 a3", "P3"),
    ("one that was rolled back", case, "a1 b1 a2 b2 a3 r1", "P1"),
    ("one that was rolled back, and refused", case, "a1 b1 a2 b2 a3 r1!", "P1"),
    ("one with another's content", another_body),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
