#!/bin/sh
# Runs the demo once and believes its figures only as far as they agree with each other. Prints TAP. usage: test_demo.sh OUTBOX
set -u
outbox=$1
TMPDIR=$(mktemp -d) || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

number=0
check() { # NAME CONDITION...
	number=$((number + 1))
	name=$1
	shift
	if "$@"; then echo "ok $number - $name"; else echo "not ok $number - $name"; fi
}
figure() { sed -n "s/^  $1  *\([0-9][0-9]*\) .*/\1/p" "$TMPDIR/said"; }

echo 1..9
start=$(date +%s)
"$outbox" demo >"$TMPDIR/said" 2>&1
status=$?
seconds=$(($(date +%s) - start))
sed 's/^/# /' "$TMPDIR/said"
check "it ends well" [ "$status" = 0 ]
check "within 25 seconds" [ "$seconds" -le 25 ]
check "orders were committed" [ "$(figure committed)" -gt 100 ]
check "orders were rolled back" [ "$(figure 'rolled back')" -gt 10 ]
check "every committed order was delivered" [ "$(figure delivered)" = "$(figure committed)" ]
check "nothing was lost" [ "$(figure lost)" = 0 ]
check "nothing came out of order" [ "$(figure 'out of order')" = 0 ]
check "nothing came that was never committed" [ "$(figure 'never committed')" = 0 ]
check "it leaves nothing behind" [ "$(find "$TMPDIR" -mindepth 1 | wc -l)" = 1 ]
