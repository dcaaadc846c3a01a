#!/usr/bin/env python3
"""A database on its way to an outbox: what is made, what is refused, and in which words.

usage: test_cli_database.py [NAME...]     environment: OUTBOX_BUILD
"""
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import DEADLINE_S, OUTBOX, case, main, outbox, refused  # noqa: E402
from disk import empty, fill, small_disk  # noqa: E402
from tap import Skip  # noqa: E402


@case
def a_missing_database_says_how_to_make_one(shop):
    url = f"sqlite:{shop.file('none.db')}"
    for words in (["status", url], ["relay", url, "--to", "null:"], ["publish", url, "--topic", "t"], ["tail", url],
                  ["dead", "list", url], ["pause", url, "x"], ["migrate", url], ["show", url, "x"],
                  ["replay", url, "x", "--since", "1h"]):
        refused(4, ["there is no such database", "outbox init"], *words)
    assert not shop.file("none.db").exists(), "asking must not make a file"


@case
def a_directory_is_no_database(shop):
    refused(3, "directory", "status", f"sqlite:{shop.path.parent}")
    refused(3, "directory", "init", f"sqlite:{shop.path.parent}")


@case
def a_device_and_a_pipe_are_no_databases(shop):
    os.mkfifo(shop.file("pipe"))
    for path in ("/dev/null", "/dev/full", shop.file("pipe")):
        refused(3, "not a regular file", "status", f"sqlite:{path}")
        refused(3, "not a regular file", "init", f"sqlite:{path}")


@case
def a_scheme_may_be_written_in_capitals(shop):
    outbox("publish", f"SQLITE:{shop.path}", "--topic", "t")
    assert shop.count() == 1
    refused(3, "did you mean", "status", f"SQLITT:{shop.path}")


@case
def a_path_without_a_scheme_is_answered_with_the_url(shop):
    refused(3, f"write sqlite:{shop.path}", "status", str(shop.path))
    refused(3, f"write sqlite:{shop.path}", "relay", str(shop.path), "--to", "null:")


class Nobody:
    """A user without rights, with a copy of the program where everybody may run it."""
    def __init__(self, shop):
        if os.getuid() != 0:
            raise Skip("only root can act as another user")
        self.program, self.directory = shop.file("outbox"), shop.path.parent
        shutil.copy(OUTBOX, self.program)
        os.chmod(self.program, 0o755)
        os.chmod(self.directory, 0o755)

    def refused(self, says, *words):
        refused(4, ["user nobody (65534)", *says], *words, nobody=True, program=self.program)


@case
def a_file_that_may_not_be_touched_is_told_by_user_and_owner(shop):
    nobody = Nobody(shop)
    os.chmod(shop.path, 0o000)
    nobody.refused([str(shop.path), "may not read the file", "root (0)", "mode 0000"], "status", shop.url)
    os.chmod(shop.path, 0o444)
    for words in (["publish", shop.url, "--topic", "t"], ["relay", shop.url, "--to", "null:"]):
        nobody.refused(["may not write the file", "root (0)", "mode 0444"], *words)


@case
def a_directory_that_may_not_be_written_is_named(shop):
    nobody = Nobody(shop)
    nobody.refused([str(nobody.directory), "may not make files in the directory", "chown"], "init", f"sqlite:{nobody.directory}/new.db")
    # The file may be written, but not what SQLite keeps beside it; with WAL, and without.
    plain = shop.file("plain.db")
    db = sqlite3.connect(plain)
    db.execute("CREATE TABLE orders (n)")
    db.close()
    for path in nobody.directory.glob("shop.db-*"):
        path.unlink()
    for path in (shop.path, plain):
        os.chmod(path, 0o666)
    says = ["may not make files in the directory", str(nobody.directory), "beside the database"]
    nobody.refused(says, "relay", shop.url, "--to", "null:")
    nobody.refused(says, "status", shop.url)
    nobody.refused(says, "init", f"sqlite:{plain}")
    closed = shop.file("closed")
    closed.mkdir(0o700)
    for command in ("init", "status"):
        nobody.refused([f"may not go through the directory {closed}"], command, f"sqlite:{closed}/shop.db")


@case
def a_file_beside_the_database_that_is_somebody_elses_is_named(shop):
    nobody = Nobody(shop)
    db = sqlite3.connect(shop.path)
    db.execute("INSERT INTO outbox_message (topic) VALUES ('t')")
    db.commit()
    os.chmod(nobody.directory, 0o777)
    os.chmod(shop.path, 0o666)
    os.chmod(f"{shop.path}-wal", 0o600)
    os.chmod(f"{shop.path}-shm", 0o600)
    nobody.refused([f"{shop.path}-wal", "root (0)", "mode 0600"], "relay", shop.url, "--to", "null:")
    db.close()


@case
def a_path_that_leads_nowhere_is_told(shop):
    path = shop.path.parent
    refused(4, [f"there is no directory {path}/no/such", "mkdir -p"], "init", f"sqlite:{path}/no/such/new.db")
    refused(4, f"{shop.path} is not a directory", "init", f"sqlite:{shop.path}/new.db")
    (path / "link.db").symlink_to("/nowhere/shop.db")
    for command in ("init", "status"):
        refused(4, "a link to a file that is not there", command, f"sqlite:{path}/link.db")


@case
def a_full_disk_is_told_before_anything_runs(shop):
    with small_disk("1m") as directory:
        url = f"sqlite:{directory}/shop.db"
        outbox("init", url, "--quiet")
        outbox("publish", url, "--topic", "t", "--payload", "x")
        for path in directory.glob("shop.db-*"):
            path.unlink()
        fill(directory)
        # SQLite cannot even make its shared memory then.
        for words in (["relay", url, "--to", "null:", "--until-idle"], ["status", url], ["publish", url, "--topic", "t", "--payload", "y"]):
            refused(75, [url, f"the disk of {directory} is full", "free some space"], *words)
        refused(1, [f"the disk of {directory} is full", "free some space"], "init", f"sqlite:{directory}/new.db")
        empty(directory)
        outbox("relay", url, "--to", "null:", "--until-idle")


@case
def a_read_only_file_system_is_told(shop):
    with small_disk("1m") as directory:
        url = f"sqlite:{directory}/shop.db"
        outbox("init", url, "--quiet")
        subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
        refused(4, "mounted read-only", "relay", url, "--to", "null:")
        refused(4, "mounted read-only", "init", f"sqlite:{directory}/new.db")


@case
def a_database_without_our_tables_is_left_alone(shop):
    path = shop.file("other.db")
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE orders (n)")
    db.commit()
    db.close()
    before = path.read_bytes()
    for words in (["status"], ["tail"], ["dead", "list"]):
        refused(6, "outbox init", *words, f"sqlite:{path}")
    refused(6, "outbox init", "relay", f"sqlite:{path}", "--to", "null:")
    refused(6, "outbox init", "publish", f"sqlite:{path}", "--topic", "t", "--payload", "x")
    assert path.read_bytes() == before, "a refused command must write nothing"
    outbox("init", f"sqlite:{path}")
    outbox("status", f"sqlite:{path}")
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    db.close()


@case
def a_file_that_is_no_database_is_left_alone(shop):
    path = shop.file("text.db")
    path.write_text("this is no database, it is a letter to a friend\n" * 50)
    before = path.read_bytes()
    for words in (["status"], ["init"], ["migrate"]):
        refused(3, "not an SQLite database", *words, f"sqlite:{path}")
    assert path.read_bytes() == before


@case
def a_newer_schema_is_refused(shop):
    shop.sql("INSERT INTO outbox_schema (version, name) VALUES (1000, 'from the future')")
    for words in (["status"], ["migrate"], ["init"], ["tail"]):
        refused(6, "newer", *words, shop.url)
    refused(6, "newer", "relay", shop.url, "--to", "null:")
    refused(6, "newer", "publish", shop.url, "--topic", "t", "--payload", "x")


@case
def wrong_column_types_are_refused_with_what_mends_them(shop):
    shop.publish("--topic", "t", "--payload", "kept")
    shop.sql("ALTER TABLE outbox_message RENAME COLUMN topic TO subject")
    for words in (["status"], ["tail"]):
        refused(6, ["no column topic", "ALTER TABLE"], *words, shop.url)
    refused(6, "no column topic", "relay", shop.url, "--to", "null:")
    shop.sql("ALTER TABLE outbox_message RENAME COLUMN subject TO topic")
    assert shop.count() == 1
    outbox("status", shop.url)


@case
def the_password_of_a_recipient_is_not_kept_in_the_database(shop):
    # Nothing to send: the recipient need not be there.
    shop.drain("http://relay:hunter2@127.0.0.1:9/?token=hunter3")
    shown = outbox("status", shop.url, "--json")
    assert "127.0.0.1:9" in shown.out, shown.out
    for path in shop.path.parent.glob(shop.path.name + "*"):
        assert b"hunter" not in path.read_bytes(), f"the secret stands in {path}"
    assert "hunter" not in shown.out + outbox("status", shop.url).out


@case
def init_may_be_run_again_and_says_what_is_next(shop):
    url = f"sqlite:{shop.file('new.db')}"
    assert "INSERT INTO outbox_message" in outbox("init", url).out
    assert "already there" in outbox("init", url).out


@case
def two_inits_at_once_are_safe(shop):
    url = f"sqlite:{shop.file('both.db')}"
    running = [subprocess.Popen([OUTBOX, "init", url], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
    outbox("status", url)


@case
def a_database_that_somebody_writes_is_for_later(shop):
    shop.publish("--topic", "t", "--payload", "x")
    shop.drain("null:", "--store-option", "retention=1h")
    db = sqlite3.connect(shop.path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    hurry = ("--store-option", "busy-timeout=50ms")
    for words in (["pause", shop.url, "default"], ["replay", shop.url, "default", "--from-beginning"],
                  ["dead", "retry", shop.url, "--all-matching", "--yes"], ["relay", shop.url, "--to", "null:", "--until-idle"]):
        refused(75, "another connection holds the write lock", *words, *hurry)
    refused(75, "another connection writes", "publish", shop.url, "--topic", "t", "--payload", "x")
    # Who only looks need not wait.
    outbox("status", shop.url)
    assert "at most 1 message would be" in outbox("replay", shop.url, "default", "--from-beginning", "--dry-run").out
    db.close()


@case
def migrate_tells_and_prints(shop):
    empty = shop.file("empty.db")
    db = sqlite3.connect(empty)
    db.execute("CREATE TABLE orders (n)")
    db.commit()
    url = f"sqlite:{empty}"
    assert "missing" in outbox("migrate", url, "--status", status=6).out
    assert "CREATE TABLE outbox_message" in outbox("migrate", url, "--dry-run").out
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'outbox%'").fetchone() == (0,)
    printed = outbox("migrate", url, "--print").out
    db.executescript(printed)
    db.close()
    state = outbox("migrate", url, "--status", "--json").json()
    assert all(it["applied"] for it in state["migrations"]), state
    outbox("migrate", url)


if __name__ == "__main__":
    sys.exit(main())
