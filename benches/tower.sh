#!/bin/sh
# Requests a second of an axum service behind `RateLimitLayer`, beside the same service without it (examples/axum_overhead.rs).
#
# Three services run at once: the bare one, one with a quota that is never used up, and one with a quota that always is. wrk
# loads one after another for some seconds, round after round, so that what disturbs the machine disturbs all of them; a ratio is
# the median of the ratios of the rounds. Services and load share the machine's processors, so the absolute numbers depend on both.
# The processor time that a service itself took for a request is shown too: it tells services apart even on a machine that does
# other things. Ends with code 1 when a service answers with another status than expected, 0 otherwise.
#
#   benches/tower.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-7} seconds=${2:-3} connections=${3:-64} threads=${THREADS:-1}

command -v wrk >/dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 2; }
cargo build --release --quiet --features tower --example axum_overhead
service=${CARGO_TARGET_DIR:-target}/release/examples/axum_overhead

folder=$(mktemp -d)
pids=
stop() { [ -z "$pids" ] || kill $pids 2>/dev/null || true; rm -rf "$folder"; }
trap stop EXIT
trap 'exit 130' INT TERM

# start NAME: leaves the service's address in $folder/NAME.url
start() {
    : >"$folder/$1.out"
    "$service" "$1" >"$folder/$1.out" 2>"$folder/$1.err" &
    pids="$pids $!"
    echo $! >"$folder/$1.pid"
    for _ in $(seq 100); do
        sed -n 's/^Listening on //p' "$folder/$1.out" >"$folder/$1.url"
        [ ! -s "$folder/$1.url" ] || return 0
        sleep 0.1
    done
    echo "$1 does not start:" >&2
    cat "$folder/$1.err" >&2
    exit 1
}

for name in bare allowed refused; do
    start "$name"
done

# Processor time a service has taken, in clock ticks.
ticks() { sed 's/.*) //' "/proc/$(cat "$folder/$1.pid")/stat" 2>/dev/null | awk '{ print $12 + $13 }'; }

# load NAME SECONDS: appends requests a second to $folder/NAME, and microseconds of processor time a request to $folder/NAME.cpu
load() {
    before=$(ticks "$1")
    wrk -t "$threads" -c "$connections" -d "${2}s" "$(cat "$folder/$1.url")/" >"$folder/wrk"
    others=$(sed -n 's/.*Non-2xx or 3xx responses: //p' "$folder/wrk")
    all=$(sed -n 's/ *\([0-9]*\) requests in.*/\1/p' "$folder/wrk")
    case $1 in
        refused) [ "$((all - ${others:-0}))" -le 1 ] || { echo "refused: $others of $all were refused" >&2; exit 1; } ;;
        *) [ -z "$others" ] || { echo "$1: $others of $all were not allowed" >&2; exit 1; } ;;
    esac
    sed -n 's/^Requests\/sec: *//p' "$folder/wrk" >>"$folder/$1"
    awk -v ticks="$(($(ticks "$1") - before))" -v hertz="$(getconf CLK_TCK)" -v all="$all" \
        'BEGIN { printf "%.2f\n", ticks / hertz / all * 1e6 }' >>"$folder/$1.cpu"
}

for name in bare allowed refused; do
    load "$name" 1
    rm "$folder/$name" "$folder/$name.cpu"
done
for round in $(seq "$rounds"); do
    # The order turns, so that nobody is always first.
    case $((round % 3)) in
        0) order="bare allowed refused" ;;
        1) order="allowed refused bare" ;;
        2) order="refused bare allowed" ;;
    esac
    for name in $order; do
        load "$name" "$seconds"
    done
    printf 'round %s: bare %s/s, allowed %s/s, refused %s/s\n' "$round" "$(tail -n1 "$folder/bare")" \
        "$(tail -n1 "$folder/allowed")" "$(tail -n1 "$folder/refused")"
done

median() { sort -g | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'; }
ratio() { paste "$folder/$1" "$folder/bare" | awk '{ printf "%.3f\n", $1 / $2 }' | median; }
verdict() { awk -v is="$1" 'BEGIN { print (is >= 0.97 ? "reached" : "MISSED") }'; }

allowed=$(ratio allowed) refused=$(ratio refused)
cat <<TABLE

GET /, $connections connections, $threads wrk thread(s), $rounds rounds of $seconds s, medians

| service | requests/s | of bare axum | goal | verdict | processor µs a request |
| --- | --- | --- | --- | --- | --- |
| bare axum | $(median <"$folder/bare") | 1 | | | $(median <"$folder/bare.cpu") |
| with the layer, all allowed | $(median <"$folder/allowed") | $allowed | 0.97 | $(verdict "$allowed") | $(median <"$folder/allowed.cpu") |
| with the layer, all refused | $(median <"$folder/refused") | $refused | | | $(median <"$folder/refused.cpu") |
TABLE
