#!/bin/sh
# Requests per second and latencies of decisions over HTTP: `POST /check` of `tollgate`, its `GET /`,
# the JSON endpoint of throttlecrab, and nginx with limit_req and a constant response.
#
# All quotas are never exhausted. nginx has one worker for each processor. Needs throttlecrab-server,
# which `cargo install throttlecrab-server --locked` installs; THROTTLECRAB is its path. Method:
# benches/common.sh. Exits with 1 when a response is not 200, 0 otherwise.
#
#   server/benches/decision_api.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/../.."
. benches/common.sh
. server/benches/nginx.sh
throttlecrab=${THROTTLECRAB:-throttlecrab-server}
command -v "$throttlecrab" >/dev/null || {
    echo "throttlecrab-server is missing: cargo install throttlecrab-server --locked" >&2
    exit 2
}
cargo build --release --quiet --package tollgate-server --bin tollgate

# Each server has a path of its own.
path=
# post NAME BODY: the requests to a server are a POST of JSON.
post() {
    cat >"$folder/$1.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '$2'
LUA
}

start tollgate "$target/tollgate" --listen 127.0.0.1:0 --capacity 4000000000 --refill-rate 1000
for name in check get; do
    cp "$folder/tollgate.pid" "$folder/$name.pid"
done
echo "$(url tollgate)/check" >"$folder/check.url"
echo "$(url tollgate)/" >"$folder/get.url"
post check '{"key": "client"}'

start_nginx "" "
            # return would respond before limit_req is reached.
            empty_gif;"

# throttlecrab does not report the port it got.
crab_body='{"key": "client", "max_burst": 4000000, "count_per_period": 4000000, "period": 1}'
for _ in $(seq 20); do
    port=$((port + 1))
    "$throttlecrab" --http --http-host 127.0.0.1 --http-port "$port" --log-level error >"$folder/throttlecrab.out" 2>&1 &
    crab=$!
    for _ in $(seq 50); do
        kill -0 "$crab" 2>/dev/null || continue 2
        ! curl --silent --fail --output "$folder/answer" --json "$crab_body" "http://127.0.0.1:$port/throttle" || break
        sleep 0.1
    done
    pids="$pids $crab"
    echo "http://127.0.0.1:$port/throttle" >"$folder/throttlecrab.url"
    break
done
[ -s "$folder/throttlecrab.url" ] || fail "throttlecrab does not start: $(cat "$folder/throttlecrab.out")"
echo "$crab" >"$folder/throttlecrab.pid"
post throttlecrab "$crab_body"

compare check get throttlecrab nginx

# at_most RATIO GOAL
at_most() { awk -v is="$1" -v goal="$2" 'BEGIN { print (is <= goal ? "reached" : "MISSED") }'; }
row() { echo "| $1 | $(speed "$2") | $(latency "$2" p50) | $(latency "$2" p99) | $(cost "$2") |"; }
of_get=$(ratio check get)
of_crab=$(ratio check throttlecrab)
tail_of_crab=$(ratio check.p99 throttlecrab.p99)
tail_of_nginx=$(ratio check.p99 nginx.p99)
cat <<TABLE

Decisions over HTTP, $(conditions); $(nginx -v 2>&1 | sed 's/.*: //'), $("$throttlecrab" --version)

| server | requests/s | p50, µs | p99, µs | processor µs a request |
| --- | --- | --- | --- | --- |
$(row "tollgate, POST /check" check)
$(row "tollgate, GET /" get)
$(row "throttlecrab, POST /throttle" throttlecrab)
$(row "nginx, limit_req" nginx)

| POST /check | ratio | goal | verdict |
| --- | --- | --- | --- |
| requests/s of GET / | $of_get | at least 0.85 | $(verdict "$of_get" 0.85) |
| requests/s of throttlecrab | $of_crab | at least 1.5 | $(verdict "$of_crab" 1.5) |
| p99 of throttlecrab | $tail_of_crab | at most 1.5 | $(at_most "$tail_of_crab" 1.5) |
| p99 of nginx | $tail_of_nginx | at most 1 | $(at_most "$tail_of_nginx" 1) |
TABLE
