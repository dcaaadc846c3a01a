#!/usr/bin/env python3
"""What the program says of itself, and what it answers to a command line that is wrong.

usage: test_cli_usage.py [NAME...]     environment: OUTBOX_BUILD
"""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import OUTBOX, case, main, outbox, refused  # noqa: E402


@case
def every_command_has_help_with_examples_first(_):
    overview = outbox("help").out
    names = re.findall(r"^  ((?:dead )?[a-z-]+)  ", overview, re.MULTILINE)
    assert len(names) >= 20, names
    for name in ("init", "migrate", "publish", "relay", "demo", "status", "tail", "show", "dead list", "pause", "resume",
                 "replay", "adopt", "test-sink", "doctor", "bench", "version", "help"):
        assert name in names, f"{name} is not in the overview"
    for name in names:
        text = outbox(*name.split(), "--help").out
        headings = re.findall(r"^(Examples|Usage|Options)$", text, re.MULTILINE)
        assert headings[:2] == ["Examples", "Usage"], f"{name}: {headings}"
        assert f"outbox {name}" in text
        assert text == outbox("help", *name.split()).out


@case
def a_word_that_begins_several_commands_has_help_too(_):
    text = outbox("dead", "--help").out
    assert re.findall(r"^(Examples|Usage|Commands)$", text, re.MULTILINE) == ["Examples", "Usage", "Commands"], text
    for name in ("list", "show", "retry", "discard"):
        assert text.count(f"  outbox dead {name} ") == 2 and f"  dead {name} " in text, text
    assert text == outbox("help", "dead").out == outbox("dead", "-h").out


@case
def help_is_laid_out_for_a_terminal(_):
    names = re.findall(r"^  ((?:dead )?[a-z-]+)  ", outbox("help").out, re.MULTILINE)
    assert {"relay", "dead retry"} <= set(names), names
    for words in [name.split() + ["--help"] for name in names] + [["help", "stores"], ["help", "sinks"]]:
        text = outbox(*words).out
        notes = text.split("\nOptions\n")[-1]
        for line in notes.splitlines():
            assert len(line) <= 100, f"{words}: {len(line)} columns: {line}"
        # What an option means stands in one column, whatever its name takes.
        for line in re.findall(r"^  +-*[a-z0-9-]+ .*$", notes, re.MULTILINE):
            assert len(line.rstrip()) <= 30 or re.match(r"^.{30} \S", line) or "  " not in line.strip(), f"{words}: {line}"


@case
def help_says_what_a_value_is(_):
    relay = outbox("relay", "--help").out
    for text in ("--to SINK", "--subscription NAME", "--topic TOPIC,...", "--lease TIME", "--sink-option NAME=VALUE"):
        assert text in relay, text
    assert "--listen ADDRESS:PORT" in outbox("receive", "--help").out
    assert "--from ID" in outbox("replay", "--help").out and "--code CODE" in outbox("dead", "list", "--help").out


@case
def the_overview_says_what_the_exit_status_means(_):
    overview = outbox("help").out
    for status in ("0", "1", "2", "3", "4", "5", "6", "7", "75"):
        assert re.search(rf"^  {status} +[a-z]", overview.split("Exit status")[1], re.MULTILINE), status


@case
def help_lists_the_options_of_stores_and_sinks(_):
    stores, sinks = outbox("help", "stores").out, outbox("help", "sinks").out
    assert "retention" in stores and "--store-option NAME=VALUE" in stores
    assert "null:" in sinks and "--sink-option NAME=VALUE" in sinks


@case
def without_a_command_the_overview_comes_on_stderr(_):
    result = outbox(status=2)
    assert result.out == "" and "outbox relay" in result.err


@case
def what_is_mistyped_is_answered_with_the_nearest(shop):
    refused(2, 'did you mean "relay"?', "relya")
    refused(2, 'did you mean "dead list"?', "dead", "lst")
    refused(2, 'did you mean "sinks"?', "help", "sinsk")
    refused(2, 'did you mean "stores"?', "help", "store")
    refused(2, 'did you mean "status"?', "help", "stauts")
    refused(2, "one of list, show, retry, discard must follow", "dead")
    refused(2, 'did you mean "--topic"?', "publish", shop.url, "--tpic", "x")
    refused(2, "two hyphens", "publish", shop.url, "-t", "x")
    refused(2, "--topic needs a value", "publish", shop.url, "--topic")
    refused(2, "--to is missing", "relay", shop.url)
    refused(2, ["--lease", "duration"], "relay", shop.url, "--to", "null:", "--lease", "soon")
    refused(2, "something is missing", "status")
    refused(2, '"more" is too much', "status", shop.url, "more")
    refused(2, ["one of", "text"], "relay", shop.url, "--to", "null:", "--log-format", "xml")


@case
def version_tells_what_is_built_in(_):
    version = outbox("version", "--json").json()
    assert "sqlite" in version["stores"] and "null" in version["sinks"] and "sqlite" in version["libraries"]
    text = outbox("--version").out
    assert text.startswith(f"outbox {version['version']}\n")


@case
def output_that_cannot_be_written_is_a_failure(_):
    with open("/dev/full", "w") as full:
        done = subprocess.run([OUTBOX, "version"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"cannot be written" in done.stderr


@case
def an_unknown_scheme_is_answered_with_the_nearest(shop):
    refused(3, "sqlite:", "status", f"sqlit:{shop.path}")
    refused(3, 'did you mean "null:"?', "relay", shop.url, "--to", "nul:")
    refused(3, 'did you mean "null:"?', "test-sink", "nul:")


@case
def an_unknown_option_of_a_store_or_sink_is_answered_with_the_nearest(shop):
    refused(3, '"retention"', "status", shop.url, "--store-option", "retension=1h")
    refused(3, ["retention", "duration"], "relay", shop.url, "--to", "null:", "--store-option", "retention=long")
    refused(3, ["sink exec:", '"concurrency"'], "test-sink", "exec:true", "--sink-option", "concurrencies=1")
    refused(3, ["sink null:", '"x"', "outbox help sinks"], "relay", shop.url, "--to", "null:", "--sink-option", "x=1")
    refused(3, ["store sqlite:", '"x"', "outbox help stores"], "status", shop.url, "--store-option", "x=1")


@case
def a_format_is_for_recipients_that_have_several(shop):
    for words in (["relay", shop.url, "--to", "null:"], ["test-sink", "null:"]):
        refused(3, "--format: null: writes messages in one way only", *words, "--format", "raw")
    refused(3, 'format: "rwa" is not one of', "test-sink", "http://127.0.0.1:1/", "--format", "rwa")


if __name__ == "__main__":
    sys.exit(main())
