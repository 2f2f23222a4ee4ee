#!/usr/bin/env bash
# The peer check: worker, enqueue and sweeper, also as Lambda binaries, against SQS and SNS as somebody
# else understands them (moto). The same tests as against ours, but for those of the carrier's faults,
# which moto has none of: tests/peer/run.sh [name of a test …]
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/peer-venv
if ! command -v python3 >/dev/null; then
    echo "skipped: needs Python 3 with venv and pip"
    exit 0
fi
# Made anew when what is to be in it has changed.
if ! cmp -s tests/peer/requirements.txt "$venv/installed.txt"; then
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" &&
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/peer/requirements.txt; }; then
        echo "skipped: moto can't be installed (see above)"
        exit 0
    fi
    cp tests/peer/requirements.txt "$venv/installed.txt"
fi

# Built first, so that moto isn't there for longer than it is needed.
cargo test --quiet --locked --workspace --test e2e --no-run

log=$(mktemp)
"$venv/bin/moto_server" -H 127.0.0.1 -p 0 >"$log" 2>&1 &
moto=$!
trap 'kill "$moto" 2>/dev/null || true; rm -f "$log"' EXIT
address=
for _ in $(seq 300); do
    address=$(sed -n 's|.*Running on http://\([0-9.:]*\).*|\1|p' "$log")
    [ -n "$address" ] && break
    kill -0 "$moto" 2>/dev/null || break
    sleep 0.1
done
if [ -z "$address" ]; then
    echo "moto does not start:" >&2
    cat "$log" >&2
    exit 1
fi

tests=("$@")
if [ $# = 0 ]; then
    tests=(cap:: delivery:: lambda::the_worker links:: posting::)
fi
# These need a carrier that refuses, or texts at /dev/sms.
KINLINE_TEST_PEER=$address INSTA_UPDATE=no cargo test --quiet --locked --workspace --test e2e -- "${tests[@]}" \
    --skip cap::an_sms_that_is_not_sent_is_refunded \
    --skip cap::an_sms_waits_for_segments_that_may_be_refunded \
    --skip links::an_opt_out_at_the_carrier_is_of_the_number \
    --skip links::a_repeated_renewal_retries_a_throttled_sms_at_once

# What moto was asked for by them: that it was moto at all, and nothing that it can't do.
echo "moto answered:"
sed -n 's|.*"\(POST [^ ]*\) HTTP/1.1" \([0-9]*\).*|\1 \2|p' "$log" | sed 's|/[0-9]\{12\}/.*|/queue|' | sort | uniq -c
