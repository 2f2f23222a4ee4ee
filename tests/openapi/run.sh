#!/usr/bin/env bash
# The API against its document: spectral lints the document, and schemathesis calls every operation on
# the local stack, with all of its checks. tests/openapi/run.sh [seconds [seed]]
#
# Starts its own stack, and stops it. Installs both tools in target/. Without pip or npm it is skipped,
# unless KINLINE_REQUIRE_OPENAPI=1.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/openapi
seconds=${1:-60}
seed=${2:-$RANDOM}

skip() {
    echo "skipped: needs $*"
    [ "${KINLINE_REQUIRE_OPENAPI:-}" != 1 ] || exit 1
    exit 0
}
venv=target/openapi-venv
if ! "$venv/bin/pip" freeze 2>/dev/null | grep -qxF "$(cat $here/requirements.txt)"; then
    python3 -m venv "$venv" 2>/dev/null && "$venv/bin/pip" install --quiet -r $here/requirements.txt ||
        skip "Python 3.10 or later, with pip and venv"
fi
command -v node >/dev/null && command -v npm >/dev/null || skip "Node.js 20 or later, with npm"
if ! [ "$here/node_modules/.package-lock.json" -nt "$here/package-lock.json" ]; then
    npm ci --prefix "$here" --no-audit --no-fund --silent
fi

folder=$(mktemp -d)
# For root, PostgreSQL runs as another user, which must pass through.
chmod 711 "$folder"
output=$folder/output
: >"$output"
cargo build --quiet --locked -p local
cargo run --quiet --locked -p local -- --fresh --no-demo --port 0 --data-dir "$folder/data" >"$output" 2>&1 &
kinline=$!
trap 'kill -TERM "$kinline" 2>/dev/null || true; wait "$kinline" || true; rm -rf "$folder"' EXIT

left=600
until url=$(sed -n 's/^ *API *\(http[^ ]*\).*/\1/p' "$output") && [ -n "$url" ]; do
    if [ $((left -= 1)) -eq 0 ] || ! kill -0 "$kinline" 2>/dev/null; then
        echo "openapi tests: the stack did not start" >&2
        cat "$output" >&2
        exit 1
    fi
    sleep 0.1
done

send() { # method, path, token, body
    curl -sSf -X "$1" "$url$2" -H "authorization: Bearer $3" -H 'content-type: application/json' -d "$4"
}
field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
# A family with the users of the document's examples; mum is the caller. It is not the examples' family,
# which is deleted during the test.
SERVICE_TOKEN=$(send POST /dev/token - '{"role":"service"}' | field token)
MEMBER_TOKEN=$(send POST /dev/token - '{"familyId":"home","userId":"mum"}' | field token)
export SERVICE_TOKEN MEMBER_TOKEN
send PUT /families/home "$SERVICE_TOKEN" '{"name":"The Riveras"}' >/dev/null
for user in mum dad grandma; do
    send PUT "/families/home/users/$user" "$SERVICE_TOKEN" "{\"name\":\"$user\"}" >/dev/null
done
thread=$(send POST /threads "$MEMBER_TOKEN" '{"memberIds":["dad"]}' | field id)
send POST "/threads/$thread/messages" "$MEMBER_TOKEN" '{"body":"Who brings the albums?"}' >/dev/null

curl -sSf "$url/openapi.json" >"$folder/openapi.json"
status=0
"$here/node_modules/.bin/spectral" lint --ruleset "$here/spectral.yaml" --fail-severity warn \
    "$folder/openapi.json" || status=1

# One worker: CPython up to 3.11.7 and 3.12.1 counts the depth of its parser's recursion for all threads
# together, and two that parse at once may end in a SystemError (python/cpython#106905, seen here).
"$venv/bin/schemathesis" --config-file $here/schemathesis.toml run "$url/openapi.json" \
    --no-color --continue-on-failure --checks all --max-time "$seconds" --seed "$seed" --workers 1 ||
    status=1
errors=$(grep -c '"level":"ERROR"' "$folder/data/kinline.log" || true)
if [ "$errors" -ne 0 ]; then
    echo "openapi tests: the stack logged $errors errors" >&2
    grep '"level":"ERROR"' "$folder/data/kinline.log" | head -5 >&2
    status=1
fi
exit "$status"
