"""What must have arrived, from the writers' own table, against what did, from the recipient's own log. It knows nothing else: neither
the outbox, nor the relay, nor how either works."""
import array
import zlib

SHOWN = 5  # broken promises that are told one by one


class Key:
    """What arrived of one key. Numbers begin with 1."""

    def __init__(self):
        self.nonces, self.ids = array.array("q"), array.array("I")
        self.missing = {}  # number -> place in the log at which a later one was first seen


class Oracle:
    """Reads receipts in their order: `ID KEY NUMBER NONCE`. A nonce is a message's own; an id must stay what it was at first."""

    def __init__(self):
        self.keys, self.receipts, self.duplicates = {}, 0, 0
        self.broken = {"P1": [], "P2": [], "P3": [], "P4": []}

    def breaks(self, promise, text):
        self.broken[promise].append(text if len(self.broken[promise]) < SHOWN else None)

    def read(self, path):
        with open(path, encoding="ascii") as log:
            for line in log:
                self.receipt(line)
        return self

    def receipt(self, line):
        words = line.split()
        if len(words) != 4:
            self.breaks("P4", f"receipt {self.receipts}: {line[:80]!r} is no message")
            return
        name, key_name, number, nonce = words[0], words[1], int(words[2]), int(words[3])
        ident = zlib.crc32(name.encode())
        key = self.keys.setdefault(int(key_name), Key())
        self.receipts += 1
        here, expected = f"key {key_name} number {number}", len(key.nonces) + 1
        if number >= expected:
            for skipped in range(expected, number):
                key.missing[skipped] = self.receipts
                key.nonces.append(-1)
                key.ids.append(0)
            key.nonces.append(nonce)
            key.ids.append(ident)
        elif number in key.missing:
            self.breaks("P3", f"{here} arrived first after number {expected - 1}, "
                              f"{self.receipts - key.missing.pop(number)} receipts late")
            key.nonces[number - 1], key.ids[number - 1] = nonce, ident
        elif key.nonces[number - 1] != nonce:
            self.breaks("P1", f"{here} arrived as two messages: one of them was not committed")
        else:
            self.duplicates += 1
            if key.ids[number - 1] != ident:
                self.breaks("P4", f"{here} arrived again under another id")

    def arrived(self):
        return sum(len(key.nonces) - len(key.missing) for key in self.keys.values())

    def judge(self, truth, duplicates_max):
        """`truth`: (key, number of its last message, exclusive or of its nonces) for every key. Returns a text of what is broken, or ""."""
        truth = {key: (number, nonces) for key, number, nonces in truth}
        for name, key in self.keys.items():
            number, nonces = truth.get(name, (0, 0))
            lost = [it for it in key.missing if it <= number] + list(range(len(key.nonces) + 1, number + 1))
            for it in lost:
                self.breaks("P2", f"key {name} number {it} of {number} is lost")
            for it in range(number + 1, len(key.nonces) + 1):
                self.breaks("P1", f"key {name} number {it} was never committed; the last one is {number}")
            if not lost and len(key.nonces) == number:
                seen = 0
                for nonce in key.nonces:
                    seen ^= nonce
                if seen != nonces:
                    self.breaks("P1", f"key {name}: a message arrived under a number that another one has")
        for name, (number, _) in truth.items():
            for it in range(1, number + 1 if name not in self.keys else 1):
                self.breaks("P2", f"key {name} number {it} of {number} is lost")
        if self.duplicates > duplicates_max:
            self.breaks("P4", f"{self.duplicates} duplicates where at most {duplicates_max} are allowed")
        return "\n".join(f"{promise}: {len(found)} times, such as\n  " + "\n  ".join(it for it in found if it)
                         for promise, found in self.broken.items() if found)
