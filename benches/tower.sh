#!/bin/sh
# Requests a second of an axum service behind `RateLimitLayer`, beside the same service without it (examples/axum_overhead.rs).
#
# Five services run at once: a bare one; one that is told the address of each peer, which axum does for who asks for it and the
# layer needs; two with a quota that is never used up, the layer around the router or in it, where axum makes a box for the service
# of each request; and one with a quota that always is used up. How they are measured: benches/common.sh. Ends with code 1 when a service answers with another status than expected, 0 otherwise.
#
#   benches/tower.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/.."
. benches/common.sh
cargo build --release --quiet --features tower --example axum_overhead

for name in bare told around allowed refused; do
    start "$name" "$target/examples/axum_overhead" "$name"
done
compare bare told around allowed refused

row() { echo "| $1 | $(speed "$2") | $(ratio "$2" bare) | ${3:-} | $(cost "$2") |"; }
reached() { echo "0.97 | $(verdict "$(ratio "$1" bare)" 0.97)"; }
cat <<TABLE

GET /, $(conditions)

| service | requests/s | of bare axum | goal | verdict | processor µs a request |
| --- | --- | --- | --- | --- | --- |
$(row "bare axum" bare "| ")
$(row "bare axum, told the peer's address" told "| ")
$(row "layer around the router, all allowed" around "$(reached around)")
$(row "layer in the router, all allowed" allowed "$(reached allowed)")
$(row "layer in the router, all refused" refused "| ")
TABLE
