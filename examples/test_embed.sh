#!/bin/sh
# Runs examples/embed.c and examples/embed_threads.c as a reader would. Prints TAP. usage: test_embed.sh OUTBOX EMBED EMBED_THREADS
set -u
outbox=$(realpath "$1") embed=$(realpath "$2") threads=$(realpath "$3")
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit 1

number=0
case_is() { # NAME EXPECTED SEEN
	number=$((number + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $number - $1"
	else
		printf '# expected: %s\n# seen: %s\n' "$2" "$3" | sed '2,$s/^\([^#]\)/# \1/'
		echo "not ok $number - $1"
	fi
}

echo 1..5
"$outbox" init --quiet sqlite:shop.db >/dev/null || exit 1
printf '%s\n' '{"topic":"orders","key":"o-1","payload":{"n":1}}' '{"topic":"orders","key":"o-1","payload":{"n":2}}' |
	"$outbox" publish sqlite:shop.db --json-lines >/dev/null 2>publish.log || {
	sed 's/^/# /' publish.log
	exit 1
}
expected='orders o-1: {"n":1}
orders o-1: {"n":2}'
case_is "each message is handed to the function, in order" "$expected" "$("$embed" sqlite:shop.db 2>/dev/null)"
case_is "a second run has nothing to do" "0 delivered" "$("$embed" sqlite:shop.db 2>&1)"
seen=$("$embed" sqlite:none.db 2>&1)
case_is "a database that is not there is one clear line" "1 1" \
	"$(printf '%s\n' "$seen" | wc -l) $(printf '%s\n' "$seen" | grep -c 'embed: .*none.db')"

"$outbox" init --quiet sqlite:many.db || exit 1
seq 1 500 | sed 's/.*/{"topic":"orders","key":"k","payload":"&"}/' |
	"$outbox" publish sqlite:many.db --json-lines >/dev/null 2>publish.log || exit 1
case_is "threads answer for all of them" "500 delivered" "$("$threads" sqlite:many.db 2>&1 >many.txt)"
case_is "and those of one key came in order" "$(seq 1 500)" "$(cat many.txt)"
