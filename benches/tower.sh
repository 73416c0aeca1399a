#!/bin/sh
# Requests a second of an axum service behind `RateLimitLayer`, beside the same service without it (examples/axum_overhead.rs).
#
# Eight services run at once. Some limit nothing: a bare one; one that is told the address of each peer, which axum does for who
# asks for it and the layer needs; and one to which three headers that never change are added by hand. The others have a quota that
# is never used up, and one a quota that always is. How they are measured: benches/common.sh. Where a process lies in memory makes
# a difference of several percent that lasts as long as it does, so that all of them are started anew some times; with
# twelve rounds each time it takes eleven minutes, and ratios are to within a percent or two.
#
# What they do for a request is counted as well, in instructions, without what the system does for them: callgrind counts while
# a service answers requests over a pipe in its own process, where the client is, too. Ends with code 1 when a service answers with another status than
# expected, 0 otherwise.
#
#   benches/tower.sh [rounds] [seconds] [connections]; STARTS=6
set -eu
cd "$(dirname "$0")/.."
starts=${STARTS:-6}
[ $# -gt 0 ] || set -- 12 1
. benches/common.sh
need valgrind
cargo build --release --quiet --features tower --example axum_overhead

service=$target/examples/axum_overhead
modes="bare told by_hand no_headers per_connection around allowed refused"
counted=10000
for mode in $modes; do
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect='*axum_overhead::counted*' \
        "$service" "$mode" "$counted" 2>&1 | sed -n 's/.*Collected : *//p' >"$folder/$mode.counted"
    [ -s "$folder/$mode.counted" ] || fail "$mode: callgrind has counted nothing"
done
for _ in $(seq "$starts"); do
    for mode in $modes; do
        start "$mode" "$service" "$mode"
    done
    # Each of them is a word.
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
$(row "bare axum, told the peer's address" told)
$(row "bare axum, three constant headers by hand" by_hand)
$(row "layer for each connection, headers on refusals alone" no_headers "$(reached no_headers)")
$(row "layer for each connection, all allowed" per_connection "$(reached per_connection)")
$(row "layer around the router, all allowed" around "$(reached around)")
$(row "layer in the router, all allowed" allowed "$(reached allowed)")
$(row "layer in the router, all refused" refused)
TABLE
