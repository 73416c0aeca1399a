#!/bin/sh
# Requests a second of an axum service behind `RateLimitLayer`, beside the same service without it (examples/axum_overhead.rs).
#
# Three services run at once: the bare one, one with a quota that is never used up, and one with a quota that always is. How they
# are measured: benches/common.sh. Ends with code 1 when a service answers with another status than expected, 0 otherwise.
#
#   benches/tower.sh [rounds] [seconds] [connections]
set -eu
cd "$(dirname "$0")/.."
. benches/common.sh
cargo build --release --quiet --features tower --example axum_overhead

for name in bare allowed refused; do
    start "$name" "$target/examples/axum_overhead" "$name"
done
compare bare allowed refused

allowed=$(ratio allowed bare)
cat <<TABLE

GET /, $(conditions)

| service | requests/s | of bare axum | goal | verdict | processor µs a request |
| --- | --- | --- | --- | --- | --- |
| bare axum | $(speed bare) | 1 | | | $(cost bare) |
| with the layer, all allowed | $(speed allowed) | $allowed | 0.97 | $(verdict "$allowed" 0.97) | $(cost allowed) |
| with the layer, all refused | $(speed refused) | $(ratio refused bare) | | | $(cost refused) |
TABLE
