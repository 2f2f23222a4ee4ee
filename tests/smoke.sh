#!/usr/bin/env bash
# A newcomer's first steps: starts the stack, posts with the printed commands, and checks that three
# phones got the SMS.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
# For root, PostgreSQL runs as another user, which must pass through.
chmod 711 "$folder"
output=$folder/output
: >"$output"
cargo build --quiet --locked
cargo run --quiet --locked -- --port 0 --data-dir "$folder/data" >"$output" 2>&1 &
kinline=$!
trap 'kill -TERM "$kinline" 2>/dev/null || true; wait "$kinline" || true; rm -rf "$folder"' EXIT

wait_for() { # what, command …
    local what=$1 left=600
    shift
    until "$@"; do
        if [ $((left -= 1)) -eq 0 ] || ! kill -0 "$kinline" 2>/dev/null; then
            echo "smoke test: timed out waiting for $what" >&2
            cat "$output" >&2
            exit 1
        fi
        sleep 0.1
    done
}
sms_of() { curl -s "$url/dev/sms?to=$1" | grep -c 'Hello from the terminal' || true; }
all_have_it() {
    [ "$(sms_of +15550100001)$(sms_of +15550100003)$(sms_of +15550100004)" = 111 ]
}

wait_for "the banner" grep -q "Hello from the terminal" "$output"
cat "$output"
url=$(sed -n 's/^ *API *\(http[^ ]*\).*/\1/p' "$output")
# The printed commands, not a copy of them.
sed -n '/TOKEN=/,$p' "$output" >"$folder/commands"
bash "$folder/commands"
echo
wait_for "three SMS" all_have_it
[ "$(sms_of +15550100002)" = 0 ] || { echo "smoke test: the author got an SMS" >&2; exit 1; }

began=$(date +%s%N)
kill -TERM "$kinline"
wait "$kinline"
took=$((($(date +%s%N) - began) / 1000000))
echo "smoke test: three SMS, stopped within $took ms"
[ "$took" -lt 3000 ]
