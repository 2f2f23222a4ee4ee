#!/usr/bin/env bash
# The peer check: enqueue, worker and sweeper, also as Lambda binaries, against moto's SQS and SNS. The
# same tests as against the local engines, except those that need the carrier's faults:
# tests/peer/run.sh [name of a test …]
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/peer-venv
if ! command -v python3 >/dev/null; then
    echo "skipped: needs Python 3 with venv and pip"
    exit 0
fi
# Installed again when the requirements have changed.
if ! cmp -s tests/peer/requirements.txt "$venv/installed.txt"; then
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" &&
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/peer/requirements.txt; }; then
        echo "skipped: moto can't be installed (see above)"
        exit 0
    fi
    cp tests/peer/requirements.txt "$venv/installed.txt"
fi

# Built first, so that moto runs no longer than needed.
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

# moto loads a service when it is first asked for it, which takes seconds that a call to the carrier has not.
for service in sns sqs; do
    scope="Credential=key/20260101/us-east-1/$service/aws4_request"
    curl --silent --max-time 60 --output /dev/null --header "Authorization: AWS4-HMAC-SHA256 $scope" \
        --data "Action=List$([ $service = sns ] && echo Topics || echo Queues)" "http://$address/" || true
done

tests=("$@")
if [ $# = 0 ]; then
    tests=(cap:: delivery:: lambda::worker_and_sweeper links:: posting::)
fi
# One test at a time: moto is one process, and each test begins with an empty one.
# The skipped ones need the carrier's faults, or /dev/sms.
KINLINE_TEST_PEER=$address INSTA_UPDATE=no cargo test --quiet --locked --workspace --test e2e -- "${tests[@]}" \
    --test-threads=1 \
    --skip cap::an_sms_that_is_not_sent_is_refunded \
    --skip cap::an_sms_waits_for_segments_that_may_be_refunded \
    --skip links::an_opt_out_at_the_carrier_is_of_the_number \
    --skip links::a_repeated_renewal_retries_a_throttled_sms_at_once

# The operations that moto answered, which shows that the tests used it.
echo "moto answered:"
sed -n 's|.*"\(POST [^ ]*\) HTTP/1.1" \([0-9]*\).*|\1 \2|p' "$log" | sed 's|/[0-9]\{12\}/.*|/queue|' | sort | uniq -c
