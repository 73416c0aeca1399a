#!/bin/sh
# Requests per second of a `tollgate` during an outage of its Redis, beside one with buckets in memory.
#
# Both run at the same time, with a quota that is never exhausted; the Redis is a real one, killed
# before the first measurement. Method: benches/common.sh. Exits with 1 when a response is not 200 or
# lacks the header that marks decisions without Redis.
#
#   server/benches/outage.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/../.."
. benches/common.sh
need redis-server curl
cargo build --release --quiet --package tollgate-server --bin tollgate

socket=$folder/redis
redis-server --port 0 --unixsocket "$socket" --save "" --daemonize no >/dev/null &
redis=$!
pids="$pids $redis"
until [ -S "$socket" ]; do sleep 0.05; done

start memory "$target/tollgate" --listen 127.0.0.1:0 --capacity 4000000000 --refill-rate 1000
start outage "$target/tollgate" --listen 127.0.0.1:0 --capacity 4000000000 --refill-rate 1000 --redis "unix://$socket"
kill -9 "$redis"
wait "$redis" 2>/dev/null || true
pids=${pids#" $redis"}

without_redis() { curl -si "$(url outage)/" | grep -qi '^x-ratelimit-without-redis: local'; }
for _ in $(seq 100); do
    ! without_redis || break
    sleep 0.1
done
without_redis || fail "no outage"
compare memory outage

ratio=$(ratio outage memory)
cat <<TABLE

GET /, $(conditions)

| server | requests/s | p50, µs | p99, µs | of memory | target | verdict |
| --- | --- | --- | --- | --- | --- | --- |
| in memory | $(speed memory) | $(latency memory p50) | $(latency memory p99) | 1 | | |
| during an outage of Redis | $(speed outage) | $(latency outage p50) | $(latency outage p99) | $ratio | 0.9 | $(verdict "$ratio" 0.9) |
TABLE
