# shellcheck shell=sh
# Sourced by the benches of servers: servers that run at the same time, wrk that loads them alternately,
# and medians.
#
# wrk loads each server for some seconds, round after round, so that a disturbance of the machine
# affects all of them; a ratio is the median of the ratios of the rounds. Servers and load share the
# machine's processors, so the absolute numbers depend on both. The processor time per request of a
# server distinguishes servers even on a machine with other load.
#
# Arguments of the sourcing script: [rounds] [seconds] [connections] [path].
rounds=${1:-7} seconds=${2:-3} connections=${3:-64} path=${4:-/} threads=${THREADS:-1}
# shellcheck disable=SC2034 # for the scripts
target=${CARGO_TARGET_DIR:-target}/release

folder=$(mktemp -d)
pids=
# Each of $pids is a word.
# shellcheck disable=SC2086
halt() { [ -z "$pids" ] || kill $pids 2>/dev/null || true; wait; pids=; }
stop() { halt; rm -rf "$folder"; }
trap stop EXIT
trap 'exit 130' INT TERM

# need PROGRAM...: exits when one is missing. Debian's packages have the same names.
need() {
    for program; do
        command -v "$program" >/dev/null || { echo "$program is missing: apt-get install $program" >&2; exit 2; }
    done
}
need wrk

fail() {
    echo "$*" >&2
    exit 1
}

# start NAME COMMAND...: starts a server and writes its address to $folder/NAME.url
start() {
    server=$1
    shift
    : >"$folder/$server.out"
    "$@" >"$folder/$server.out" 2>"$folder/$server.err" &
    pids="$pids $!"
    echo $! >"$folder/$server.pid"
    for _ in $(seq 100); do
        sed -n 's/^Listening on \([^ ]*\).*/\1/p' "$folder/$server.out" >"$folder/$server.url"
        [ ! -s "$folder/$server.url" ] || return 0
        sleep 0.1
    done
    fail "$server does not start: $(cat "$folder/$server.err")"
}

url() { cat "$folder/$1.url"; }

# ticks NAME: processor time of a server and its workers, in clock ticks.
ticks() {
    pid=$(cat "$folder/$1.pid")
    for each in "$pid" $(cat "/proc/$pid/task/$pid/children"); do
        sed 's/.*) //' "/proc/$each/stat" 2>/dev/null
    done | awk '{ sum += $12 + $13 } END { print sum }'
}

# microseconds PERCENT: a latency percentile of the last run of wrk.
microseconds() {
    sed -n "s/^ *$1% *//p" "$folder/wrk" |
        awk '{ print $1 * ($1 ~ /us$/ ? 1 : $1 ~ /ms$/ ? 1e3 : 1e6) }'
}

# load NAME SECONDS: appends requests per second to $folder/NAME, microseconds of processor time per
# request to NAME.cpu, and latency percentiles in microseconds to NAME.p50 and NAME.p99. NAME.lua, if it
# exists, is the script of wrk. The server named `refused` must refuse, any other must respond 200.
load() {
    before=$(ticks "$1")
    script=$folder/$1.lua
    [ -e "$script" ] || : >"$script"
    wrk -s "$script" -t "$threads" -c "$connections" -d "${2}s" --latency "$(url "$1")$path" >"$folder/wrk"
    others=$(sed -n 's/.*Non-2xx or 3xx responses: //p' "$folder/wrk")
    errors=$(sed -n 's/.*Socket errors: //p' "$folder/wrk")
    all=$(sed -n 's/ *\([0-9]*\) requests in.*/\1/p' "$folder/wrk")
    case $1 in
        refused) [ "$((all - ${others:-0}))" -le 1 ] || fail "refused: $others of $all were refused" ;;
        *) [ -z "$others$errors" ] || fail "$1: of $all: ${others:-0} not 200, socket errors: ${errors:-none}" ;;
    esac
    sed -n 's/^Requests\/sec: *//p' "$folder/wrk" >>"$folder/$1"
    awk -v ticks="$(($(ticks "$1") - before))" -v hertz="$(getconf CLK_TCK)" -v all="$all" \
        'BEGIN { printf "%.2f\n", ticks / hertz / all * 1e6 }' >>"$folder/$1.cpu"
    microseconds 50 >>"$folder/$1.p50"
    microseconds 99 >>"$folder/$1.p99"
}

# turned ROUND NAME...: the order of a round; it rotates, so that no server is always first.
turned() {
    turns=$(($1 % ($# - 1)))
    shift
    while [ "$turns" -gt 0 ]; do
        first=$1
        shift
        set -- "$@" "$first"
        turns=$((turns - 1))
    done
    echo "$@"
}

# compare NAME...: warms these servers up, then loads them round after round. Measurements from before a
# halt are kept.
compare() {
    for name; do
        load "$name" 1
        sed -i '$d' "$folder/$name" "$folder/$name.cpu" "$folder/$name.p50" "$folder/$name.p99"
    done
    for round in $(seq "$rounds"); do
        for name in $(turned "$round" "$@"); do
            load "$name" "$seconds"
        done
        line=
        for name; do
            line="$line, $name $(tail -n1 "$folder/$name")/s"
        done
        echo "round $round: ${line#, }"
    done
}

median() { sort -g | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'; }
# speed NAME: requests per second.
speed() { median <"$folder/$1"; }
# cost NAME: microseconds of processor time per request.
cost() { median <"$folder/$1.cpu"; }
# latency NAME PERCENTILE: microseconds, where PERCENTILE is p50 or p99.
latency() { median <"$folder/$1.$2"; }
# ratio NAME BESIDE: also of latencies, as NAME.p99
ratio() { paste "$folder/$1" "$folder/$2" | awk '{ printf "%.3f\n", $1 / $2 }' | median; }
# verdict RATIO GOAL
verdict() { awk -v is="$1" -v goal="$2" 'BEGIN { print (is >= goal ? "reached" : "MISSED") }'; }
# conditions: the heading of a table.
conditions() { echo "$connections connections, $threads wrk thread(s), $rounds rounds of $seconds s, medians"; }
