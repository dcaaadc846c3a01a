#!/usr/bin/env python3
"""Writes text files as C arrays: embed.py OUT.c NAME=FILE ..."""
import sys


def literal(text):
    """The bytes as numbers: a string literal would meet the compilers' limits of length."""
    lines = []
    data = text + b"\0"
    for start in range(0, len(data), 20):
        lines.append("    " + ", ".join(str(byte) for byte in data[start:start + 20]) + ",\n")
    return "".join(lines)


def main():
    with open(sys.argv[1], "w", encoding="ascii") as out:
        for item in sys.argv[2:]:
            name, path = item.split("=", 1)
            with open(path, "rb") as source:
                out.write("extern const char %s[];\nconst char %s[] = {\n%s};\n"
                          % (name, name, literal(source.read())))


main()
