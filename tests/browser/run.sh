#!/usr/bin/env bash
# The pages and the phone wall in a real browser: tests/browser/run.sh [test file …]
#
# Starts its own stack, and stops it. Without Node.js or Chromium it is skipped, unless
# KINLINE_REQUIRE_BROWSER=1. The browser is CHROMIUM, /usr/bin/chromium, or `chromium` on the PATH.
# SHOTS=<folder> keeps pictures of failed tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/browser

skip() {
    echo "skipped: needs $*"
    [ "${KINLINE_REQUIRE_BROWSER:-}" != 1 ] || exit 1
    exit 0
}
command -v node >/dev/null && command -v npm >/dev/null || skip "Node.js 20.10 or later, with npm"
node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 10) ? 0 : 1)' ||
    skip "Node.js 20.10 or later; this is $(node --version)"
if ! [ "$here/node_modules/.package-lock.json" -nt "$here/package-lock.json" ]; then
    npm ci --prefix "$here" --no-audit --no-fund --silent
fi
why=$(node "$here/browser.mjs" 2>&1) || skip "Chromium ($why)"

folder=$(mktemp -d)
# For root, PostgreSQL runs as another user, which must pass through.
chmod 711 "$folder"
output=$folder/output
: >"$output"
cargo build --quiet --locked -p local
cargo run --quiet --locked -p local -- --fresh --port 0 --data-dir "$folder/data" >"$output" 2>&1 &
kinline=$!
trap 'kill -TERM "$kinline" 2>/dev/null || true; wait "$kinline" || true; rm -rf "$folder"' EXIT

left=600
# The curl that it prints last.
until grep -q "Hello from the terminal" "$output"; do
    if [ $((left -= 1)) -eq 0 ] || ! kill -0 "$kinline" 2>/dev/null; then
        echo "browser tests: the stack did not start" >&2
        cat "$output" >&2
        exit 1
    fi
    sleep 0.1
done
url=$(sed -n 's/^ *API *\(http[^ ]*\).*/\1/p' "$output")

# The wall first: it shows fifty families, and each test makes one.
files=("$@")
[ "$#" -gt 0 ] || files=("$here"/wall.test.mjs "$here"/[!w]*.test.mjs)
status=0
# The reporter `spec`, without a terminal too, so that a failure reads the same everywhere.
KINLINE_URL=$url KINLINE_DATA=$folder/data SHOTS=${SHOTS:-} \
    node --test --test-reporter=spec --test-concurrency=2 "${files[@]}" || status=$?
if [ "$status" -ne 0 ]; then
    errors=$(grep -c '"level":"ERROR"' "$folder/data/kinline.log" || true)
    echo "browser tests: failed; the stack logged $errors errors" >&2
    grep '"level":"ERROR"' "$folder/data/kinline.log" | tail -5 >&2 || true
fi
exit "$status"
