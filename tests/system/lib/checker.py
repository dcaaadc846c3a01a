"""P1 to P4 from two logs: what the writers committed and what the recipient received. It knows nothing else, and nothing of the relay."""
from tap import check


def check_promises(committed, rolled_back, receipts, dead, duplicates_max):
    """`committed`: (id, key, number) in commit order; `rolled_back`, `dead`: ids; `receipts`: as the recipient logged them. A key's
    numbers rise by one. Returns the number of duplicates; raises AssertionError with the promise that is broken."""
    wanted = {message_id: (key, number) for message_id, key, number in committed}
    arrived = {receipt.id for receipt in receipts}
    strange = arrived - set(wanted)
    check(not strange, f"P1: {len(strange)} arrived that were never committed; {len(strange & rolled_back)} were rolled back")
    seen, last, duplicates = set(), {}, 0
    for receipt in receipts:
        check(wanted[receipt.id] == (receipt.key, receipt.number), f"P4: {receipt.id} arrived as another message")
        before = last.get(receipt.key, 0)
        if not 200 <= receipt.status < 300:
            continue
        if receipt.id in seen:
            duplicates += 1
            continue
        seen.add(receipt.id)
        check(receipt.number > before, f"P3: {receipt.key} number {receipt.number} arrived first after {before}")
        last[receipt.key] = receipt.number
    lost = sorted(wanted[message_id] for message_id in set(wanted) - seen - dead)
    check(not lost, f"P2: {len(lost)} of {len(wanted)} lost, such as {lost[:5]}")
    check(duplicates <= duplicates_max, f"P4: {duplicates} duplicates where at most {duplicates_max} are allowed")
    return duplicates
