#!/bin/sh
# Requests a second of a `tollgate` whose Redis has died, beside one that keeps its buckets in memory.
#
# Both run at once, with a quota that is never used up; the Redis is a real one, killed before the first measurement. wrk loads one
# after the other for some seconds, round after round, so that what disturbs the machine disturbs both; a ratio is the median of
# the ratios of the rounds. Ends with code 1 when an answer is no 200, or does not say that it was made without Redis.
#
#   benches/outage.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-7} seconds=${2:-3} connections=${3:-64} threads=${THREADS:-1}

for part in wrk:wrk redis-server:redis-server curl:curl; do
    command -v "${part%%:*}" >/dev/null || { echo "${part%%:*} is missing: apt-get install ${part##*:}" >&2; exit 2; }
done
cargo build --release --quiet --features server --bin tollgate
server=${CARGO_TARGET_DIR:-target}/release/tollgate

folder=$(mktemp -d)
pids=
stop() { [ -z "$pids" ] || kill $pids 2>/dev/null || true; rm -rf "$folder"; }
trap stop EXIT
trap 'exit 130' INT TERM

socket=$folder/redis
redis-server --port 0 --unixsocket "$socket" --save "" --daemonize no >/dev/null &
redis=$!
until [ -S "$socket" ]; do sleep 0.05; done

# start NAME FLAGS...: leaves the server's address in $folder/NAME.url
start() {
    name=$1
    shift
    "$server" --listen 127.0.0.1:0 --capacity 4000000000 --refill-rate 1000 "$@" >"$folder/$name.out" 2>"$folder/$name.err" &
    pids="$pids $!"
    for _ in $(seq 100); do
        sed -n 's/^Listening on //p' "$folder/$name.out" >"$folder/$name.url"
        [ ! -s "$folder/$name.url" ] || return 0
        sleep 0.1
    done
    cat "$folder/$name.err" >&2
    exit 1
}
start memory
start outage --redis "unix://$socket"
kill -9 "$redis"
wait "$redis" 2>/dev/null || true
for _ in $(seq 100); do
    ! curl -si "$(cat "$folder/outage.url")/" | grep -qi '^x-ratelimit-without-redis: local' || break
    sleep 0.1
done
curl -si "$(cat "$folder/outage.url")/" | grep -qi '^x-ratelimit-without-redis: local' || { echo "no outage" >&2; exit 1; }

# load NAME SECONDS: appends requests a second to $folder/NAME, and the percentiles
load() {
    wrk -t "$threads" -c "$connections" -d "${2}s" --latency "$(cat "$folder/$1.url")/" >"$folder/wrk"
    ! grep 'Non-2xx' "$folder/wrk" >&2 || exit 1
    sed -n 's/^Requests\/sec: *//p' "$folder/wrk" >>"$folder/$1"
    sed -n 's/^ *50% *//p' "$folder/wrk" >"$folder/$1.p50"
    sed -n 's/^ *99% *//p' "$folder/wrk" >"$folder/$1.p99"
}

for name in memory outage; do
    load "$name" 1
    rm "$folder/$name"
done
for round in $(seq "$rounds"); do
    if [ $((round % 2)) = 0 ]; then order="memory outage"; else order="outage memory"; fi
    for name in $order; do load "$name" "$seconds"; done
    printf 'round %s: memory %s/s, outage %s/s\n' "$round" "$(tail -n1 "$folder/memory")" "$(tail -n1 "$folder/outage")"
done

median() { sort -g | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'; }
ratio=$(paste "$folder/outage" "$folder/memory" | awk '{ printf "%.3f\n", $1 / $2 }' | median)
cat <<TABLE

GET /, $connections connections, $threads wrk thread(s), $rounds rounds of $seconds s, medians; latencies of the last round

| server | requests/s | p50 | p99 | of memory | target | verdict |
| --- | --- | --- | --- | --- | --- | --- |
| in memory | $(median <"$folder/memory") | $(cat "$folder/memory.p50") | $(cat "$folder/memory.p99") | 1 | | |
| its Redis is dead | $(median <"$folder/outage") | $(cat "$folder/outage.p50") | $(cat "$folder/outage.p99") | $ratio | 0.9 | $(awk -v is="$ratio" 'BEGIN { print (is >= 0.9 ? "reached" : "MISSED") }') |
TABLE
