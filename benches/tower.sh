#!/bin/sh
# Requests per second of an axum service behind `RateLimitLayer`, beside the same service without it
# (benches/tower/axum_overhead.rs).
#
# Eight services run at the same time. Three limit nothing: a bare one; one that extracts the address of
# each peer, which the layer needs; and one that adds three constant headers by hand. The others have
# a quota that is never exhausted, and one a quota that always is. Method: benches/common.sh. The
# memory layout of a process makes a difference of several percent that lasts as long as the process,
# so all of them are restarted several times; with twelve rounds each time it takes eleven minutes,
# and ratios are accurate to a percent or two.
#
# Instructions per request are counted as well, without the system's: callgrind counts while a service
# responds to requests over a pipe in its own process, where the client is, too. Exits with 1 when a
# service responds with an unexpected status, 0 otherwise.
#
#   benches/tower.sh [rounds] [seconds] [connections]; STARTS=6
set -eu
cd "$(dirname "$0")/.."
starts=${STARTS:-6}
[ $# -gt 0 ] || set -- 12 1
. benches/common.sh
need valgrind
cargo build --release --quiet --package tollgate-examples --example axum_overhead

service=$target/examples/axum_overhead
modes="bare peer by_hand no_headers per_connection around allowed refused"
counted=10000
for mode in $modes; do
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect='*axum_overhead::counted*' \
        "$service" "$mode" "$counted" 2>&1 | sed -n 's/.*Collected : *//p' >"$folder/$mode.counted"
    [ -s "$folder/$mode.counted" ] || fail "$mode: callgrind counted nothing"
done
for _ in $(seq "$starts"); do
    for mode in $modes; do
        start "$mode" "$service" "$mode"
    done
    # One word each.
    # shellcheck disable=SC2086
    compare $modes
    halt
done

instructions() { awk -v requests="$counted" '{ printf "%.0f\n", $1 / requests }' "$folder/$1.counted"; }
row() { echo "| $1 | $(speed "$2") | $(ratio "$2" bare) | ${3:-| } | $(cost "$2") | $(instructions "$2") |"; }
reached() { echo "0.97 | $(verdict "$(ratio "$1" bare)" 0.97)"; }
cat <<TABLE

GET /, started $starts times, $(conditions)

| service | requests/s | of bare axum | goal | verdict | processor µs a request | instructions a request |
| --- | --- | --- | --- | --- | --- | --- |
$(row "bare axum" bare)
$(row "bare axum, extracting the peer's address" peer)
$(row "bare axum, three constant headers by hand" by_hand)
$(row "layer for each connection, headers on refusals alone" no_headers "$(reached no_headers)")
$(row "layer for each connection, all allowed" per_connection "$(reached per_connection)")
$(row "layer around the router, all allowed" around "$(reached around)")
$(row "layer in the router, all allowed" allowed "$(reached allowed)")
$(row "layer in the router, all refused" refused)
TABLE
