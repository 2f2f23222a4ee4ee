#!/usr/bin/env bash
# Checks that `cargo lambda watch`, with the routes in Cargo.toml, answers as the local server does, and
# that `cargo lambda invoke worker` sends an SMS.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo lambda --version >/dev/null 2>&1; then
    echo "skipped: cargo-lambda is not installed"
    exit 0
fi

folder=$(mktemp -d)
# For root, PostgreSQL runs as another user, which must pass through.
chmod 711 "$folder"
running=""

stop_all() {
    local status=$? pid function functions
    for pid in $running; do
        # The functions are separate process groups: if their server is killed, nothing else ends them.
        functions=$(pgrep -P "$pid" || true)
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" || true
        for function in $functions; do
            kill -KILL -- "-$function" 2>/dev/null || true
        done
    done
    rm -rf "$folder"
    exit "$status"
}
trap stop_all EXIT

fail() { # why
    echo "cargo-lambda test: $1" >&2
    tail -n 30 "$folder"/*.log >&2
    exit 1
}

start() { # name, command … : in the background, its output in name.log
    local log=$folder/$1.log
    shift
    "$@" >"$log" 2>&1 &
    newest=$!
    # Stopped in reverse order: the functions before the stack that they use.
    running="$newest $running"
}

wait_for() { # what, command …
    local what=$1 left=600
    shift
    until "$@"; do
        kill -0 "$newest" 2>/dev/null || fail "the process ended before $what"
        [ $((left -= 1)) -gt 0 ] || fail "timed out waiting for $what"
        sleep 0.1
    done
}

free_port() {
    local port
    # cargo-lambda passes the given port to its functions, so it can't be 0.
    while port=$((20000 + RANDOM % 10000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

variable() { # name, of the file that the stack wrote for cargo-lambda
    # shellcheck source=/dev/null
    (. "$data/api.env" && echo "${!1}")
}

string() { # name: the first such string of the JSON that is read
    grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d'"' -f4
}

# Compiles first, so that errors show here and no request waits for it.
cargo build --quiet --locked
cargo build --quiet --locked -p functions --bins
cargo build --quiet --locked -p worker --bins

data=$folder/data
start local cargo run --quiet --locked -- --port 0 --data-dir "$data"
wait_for "the banner" grep -q "Post as Mum" "$folder/local.log"
local_url=$(sed -n 's/^ *API *\(http[^ ]*\).*/\1/p' "$folder/local.log")

# A queue without pollers: jobs of posts through cargo-lambda wait there, where the stack's own pollers
# don't handle them.
sqs() { # action, input
    curl -sS "$(variable AWS_ENDPOINT_URL_SQS)" -H "x-amz-target: AmazonSQS.$1" \
        -H 'content-type: application/x-amz-json-1.0' -d "$2"
}
queue=$(sqs CreateQueue '{"QueueName":"by-hand"}' | string QueueUrl)

api_port=$(free_port)
api_url=http://127.0.0.1:$api_port
start api cargo lambda watch --ignore-changes --invoke-address 127.0.0.1 --invoke-port "$api_port" \
    --env-file "$data/api.env" --env-var "KINLINE_QUEUE_URL=$queue" -p functions
wait_for "/health through cargo-lambda" curl -sf -o /dev/null --max-time 10 "$api_url/health"

token() { # the user, or the role, as JSON
    curl -sS "$local_url/dev/token" -H 'content-type: application/json' -d "$1" | string token
}
mum=$(token '{"userId":"mum"}')
host=$(token '{"role":"service"}')

request() { # server, token, method, path, further arguments of curl …
    local server=$1 token=$2 method=$3 path=$4
    shift 4
    curl -sS -X "$method" "$server$path" -w '\n%{http_code} %{content_type}\n' \
        -H "authorization: Bearer $token" -H 'x-request-id: the-same-for-both' \
        -H 'content-type: application/json' "$@"
}

compared=0
same() { # the expected status of both, then the arguments of request() after the server
    local status=$1 lambda here
    shift
    lambda=$(request "$api_url" "$@")
    here=$(request "$local_url" "$@")
    if [ "$lambda" != "$here" ] || ! grep -q "^$status " <<<"$here"; then
        fail "$2 $3 should be $status, the same from both; cargo-lambda, then the local server:
$lambda
$here"
    fi
    compared=$((compared + 1))
}

# A thread with a single recipient, so that a post is a single job.
dm='{"memberIds":["dad"],"kind":"DM"}'
thread=$(request "$local_url" "$mum" POST /threads -d "$dm" | string id)
family=$(sed -n 's,.*/threads/\(th_[0-9a-f]*\)/messages.*,\1,p' "$folder/local.log")
posts=$(request "$local_url" "$mum" GET "/threads/$family/messages?limit=1")
message=$(grep -o 'msg_[0-9a-f]*' <<<"$posts" | head -n 1)
unknown=th_00000000000070008000000000000000

same 200 "$mum" GET /health
same 401 nonsense GET /threads
same 401 nonsense GET "/threads/$thread/messages"
same 404 "$mum" GET "/threads/$unknown"
same 404 "$mum" GET "/threads/$unknown/messages"
same 404 "$mum" POST "/threads/$unknown/messages" -d '{"body":"To an unknown thread"}'
same 422 "$mum" POST /threads -d '{"memberIds":["a stranger"]}'
same 422 "$mum" POST "/threads/$thread/messages" -d '{"body":"Hello","colour":"red"}'
same 400 "$mum" POST "/threads/$thread/messages" -d '{'
same 403 "$mum" PUT /families/demo -d '{"name":"Mine"}'
same 422 "$host" PUT /families/demo/users/dad -d '{"name":"Dad","phone":"12"}'
same 200 nonsense GET /l
same 401 nonsense GET "/t/$thread"
same 401 nonsense POST /links/exchange -d '{"token":"x"}'
same 202 nonsense POST /links/renew -d '{"token":"x"}'
same 204 "$mum" PUT "/threads/$thread/read" -d '{"seq":1}'
same 200 "$mum" PUT "/threads/$thread/texts" -d '{"state":"on"}'
same 200 "$mum" POST /threads -d "$dm"
same 200 "$mum" GET /threads
same 200 "$mum" GET "/threads/$thread"
same 200 "$mum" GET "/threads/$family/messages?limit=2"
same 200 "$mum" GET "/threads/$family/messages/$message/deliveries"

# ---- the worker ----

worker_port=$(free_port)
# Another link address distinguishes its SMS from those of the stack's worker.
link=https://by-hand.example
start worker cargo lambda watch --ignore-changes --invoke-address 127.0.0.1 \
    --invoke-port "$worker_port" --env-file "$data/worker.env" \
    --env-var "KINLINE_PUBLIC_URL=$link" -p worker
listens() { (: <"/dev/tcp/127.0.0.1/$worker_port") 2>/dev/null; }
wait_for "the worker's server" listens

sample=tests/cargo-lambda/sqs-event.json
malformed=$(sed -n 's/.*"messageId": "\(1[^"]*\)".*/\1/p' $sample)
invoke() { # event
    local answer
    answer=$(cargo lambda invoke worker --invoke-address 127.0.0.1 --invoke-port "$worker_port" \
        --data-file "$1")
    [ "$answer" = "{\"batchItemFailures\":[{\"itemIdentifier\":\"$malformed\"}]}" ] ||
        fail "the worker should have refused only the malformed record, not: $answer"
}
# The committed event: a record that is no job, and a job of no thread.
invoke $sample

# The SMS must be sent within 30 seconds: then the sweeper wakes the stack's worker.
same 201 "$mum" POST "/threads/$thread/messages" -H 'idempotency-key: cargo-lambda' \
    -d '{"body":"Hello through cargo-lambda"}'
received=$(sqs ReceiveMessage "{\"QueueUrl\":\"$queue\",\"WaitTimeSeconds\":5}")
grep -q "kind.*reach.*$thread.*dad" <<<"$received" || fail "no job in the queue: $received"
sed "s/th_[0-9a-f]*/$thread/" $sample >"$folder/event.json"
invoke "$folder/event.json"

texts=$(curl -sS "$local_url/dev/sms?to=+15550100003" | grep -o '"body":"[^"]*cargo-lambda[^"]*"' || true)
case $texts in
"\"body\":\"Mum: Hello through cargo-lambda $link/l#"*) ;;
*) fail "Dad should have one SMS, from the invoked worker, not: $texts" ;;
esac
same 200 "$mum" GET "/threads/$thread/messages"
# Last, since it sends a job to the queue as well.
same 202 nonsense POST /links/request -d '{"phone":"+15550100999"}'

echo "cargo-lambda test: $compared answers the same, and an SMS from the worker invoked by hand"
