#!/usr/bin/env bats
#
# The journald driver against a real systemd-journald, read back with journalctl. The journal daemon
# is our own: it runs in a mount namespace with a /run of its own, and nothing of it reaches the
# machine's. The runtime is a shell script, whose container is the shell command in COMMAND.

load support

setup_file() {
    require_root
    if [ ! -x /lib/systemd/systemd-journald ]; then
        skip "needs systemd-journald"
    fi
    export space=$BATS_FILE_TMPDIR/space
    mkdir -p "$space"
    make_runtime
    make_space
    start_journald
}

teardown_file() {
    local pid
    for pid in "$space"/*.pid; do
        if [ -e "$pid" ]; then
            kill -9 "$(<"$pid")" 2>/dev/null || true
        fi
    done
}

setup() {
    id=$(printf '%060x%04x' "$BATS_TEST_NUMBER" $RANDOM)
    bundle=$BATS_TEST_TMPDIR/bundle
    monitor=$MOTE_CONMON
}

make_runtime() {
    export fake_runtime=$BATS_FILE_TMPDIR/runtime
    cat >"$fake_runtime" <<'RUNTIME'
#!/bin/sh
while [ $# -gt 0 ]; do
    if [ "$1" = --pid-file ]; then
        pidfile=$2
    fi
    shift
done
setsid sh -c "$COMMAND" &
printf %s $! >"$pidfile"
RUNTIME
    chmod +x "$fake_runtime"
}

# A mount namespace, held by a process that sleeps.
make_space() {
    cat >"$space/make" <<'SPACE'
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log
echo 0123456789abcdef0123456789abcdef >/run/machine-id
mount --bind /run/machine-id /etc/machine-id
cat >/run/journald.conf <<CONF
[Journal]
Storage=volatile
RateLimitIntervalSec=0
RateLimitBurst=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
CONF
mount --bind /run/journald.conf /etc/systemd/journald.conf
if [ -e /etc/systemd/journald@.conf ]; then
    mount --bind /run/journald.conf /etc/systemd/journald@.conf
fi
touch "$1"
exec sleep infinity
SPACE
    unshare --mount --propagation private bash "$space/make" "$space/made" </dev/null \
        >"$space/log" 2>&1 3>&- &
    echo $! >"$space/holder.pid"
    disown
    eventually test -e "$space/made"
}

in_space() {
    nsenter --mount="/proc/$(<"$space/holder.pid")/ns/mnt" "$@"
}

# Runs a command in the namespace in the background, and writes its pid to the file $1.
launch_in_space() {
    local pidfile=$1
    shift
    # Not through a function, of which the pid would be that of a shell in between.
    nsenter --mount="/proc/$(<"$space/holder.pid")/ns/mnt" "$@" </dev/null >>"$space/log" 2>&1 3>&- &
    echo $! >"$pidfile"
    disown
}

# Starts the journal daemon, or that of the journal namespace $1.
start_journald() {
    launch_in_space "$space/journald${1:+.$1}.pid" \
        env SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-journald ${1:+"$1"}
    eventually in_space test -S "/run/systemd/journal${1:+.$1}/socket"
}

stop_journald() {
    local pid
    pid=$(<"$space/journald.pid")
    kill "$pid"
    await_end "$pid"
    in_space rm -f /run/systemd/journal/socket
}

# Starts a container that runs the command $1. Options for the monitor follow. The words of the array
# `around` go before the monitor's command line.
start() {
    local command=$1
    shift
    mkdir -p "$bundle"/{exits,persist}
    COMMAND=$command in_space timeout -k 5 "$deadline_s" "${around[@]}" "$monitor" --api-version 1 \
        -c "$id" -u "$id" -n a-name -r "$fake_runtime" -b "$bundle" -p "$bundle/pidfile" \
        -P "$bundle/conmon.pid" --exit-dir "$bundle/exits" --persist-dir "$bundle/persist" \
        --full-attach -l journald "$@" </dev/null >"$bundle/stdout" 2>"$bundle/stderr" 3>&-
    expect 'stderr of the monitor' "$(<"$bundle/stderr")" ''
}

ended() {
    await_end "$(<"$bundle/conmon.pid")"
    [ -e "$bundle/exits/$id" ]
}

contain() {
    start "$@"
    ended
}

# Prints, for each entry of the container, the fields that are named, as a JSON list of texts in which
# each character stands for a byte.
entries() {
    in_space journalctl --quiet --all --output=json ${journal_namespace:+--namespace=$journal_namespace} \
        "CONTAINER_ID_FULL=$id" | python3 -c '
import json, sys
for line in sys.stdin:
    entry = json.loads(line)
    values = [entry.get(name) for name in sys.argv[1:]]
    values = [bytes(v) if isinstance(v, list) else v and v.encode() for v in values]
    values = [v and v.decode("latin-1") for v in values]
    print(json.dumps(values))' "$@"
}

resident_kb() {
    awk '$1 == "Rss:" { print $2 }' "/proc/$(<"$bundle/conmon.pid")/smaps_rollup"
}

last_message_is() {
    [ "$(entries MESSAGE | tail -n 1)" = "$1" ]
}

entry_count_is() {
    [ "$(entries PRIORITY | wc -l)" -eq "$1" ]
}

# Waits until the container has $1 entries, the fields named of which are then as the rest of the
# arguments after `--`.
expect_entries() {
    local count=$1 fields=()
    shift
    while [ "$1" != -- ]; do
        fields+=("$1")
        shift
    done
    shift
    if ! eventually entry_count_is "$count"; then
        entries "${fields[@]}" | cut -c1-300 >&2
        return 1
    fi
    expect entries "$(entries "${fields[@]}")" "$(printf '%s\n' "$@")"
}

@test "an entry has conmon's fields, and its sender is the monitor" {
    contain 'echo out; sleep 0.3; echo err >&2' --log-tag a-tag --log-label 'ONE=1' --log-label 'TWO=t w'
    expect_entries 2 MESSAGE PRIORITY CONTAINER_ID CONTAINER_TAG CONTAINER_NAME SYSLOG_IDENTIFIER \
        CONTAINER_PARTIAL_MESSAGE ONE TWO _COMM -- \
        "[\"out\\n\", \"6\", \"${id:0:12}\", \"a-tag\", \"a-name\", \"a-tag\", null, \"1\", \"t w\", \"conmon\"]" \
        "[\"err\\n\", \"3\", \"${id:0:12}\", \"a-tag\", \"a-name\", \"a-tag\", null, \"1\", \"t w\", \"conmon\"]"
    expect sender "$(entries _PID | sort -u)" "[\"$(<"$bundle/conmon.pid")\"]"
}

@test "a program that is linked with no shared library writes to the journal (regression 33)" {
    run readelf -lW "$monitor"
    [[ "$output" == *LOAD* && "$output" != *INTERP* ]]
    contain 'echo out'
    expect_entries 1 MESSAGE -- '["out\n"]'
}

@test "a second after an entry the monitor has given back what it took" {
    local before
    mkfifo "$BATS_TEST_TMPDIR/go"
    start ": <$BATS_TEST_TMPDIR/go; echo out; exec sleep 60"
    sleep 1.5
    before=$(resident_kb)
    : >"$BATS_TEST_TMPDIR/go"
    eventually entry_count_is 1
    sleep 1.5
    # Two pages for an entry stay, and a page of the stream's buffer.
    expect 'kB that stayed' "$(($(resident_kb) - before <= 12))" 1
    kill "$(<"$bundle/pidfile")"
    ended
}

@test "without a tag the name identifies the entry (regression 57)" {
    contain 'echo out'
    expect_entries 1 CONTAINER_TAG SYSLOG_IDENTIFIER -- '[null, "a-name"]'
}

@test "what conmon 2.1.6 writes to the journal is what we write" {
    if [ ! -x /usr/bin/conmon ]; then
        skip "needs conmon"
    fi
    local command='
        printf "one\n\n three\tand more \n"; sleep 0.3
        printf "in "; sleep 0.3; printf "pieces\n"; sleep 0.3
        printf "\001\002\000binary\377\n"; echo error >&2; sleep 0.3; printf unfinished'
    local names=(MESSAGE PRIORITY CONTAINER_ID CONTAINER_ID_FULL CONTAINER_NAME CONTAINER_TAG
        SYSLOG_IDENTIFIER CONTAINER_PARTIAL_MESSAGE _COMM)
    contain "$command" --log-tag 'a tag'
    eventually entry_count_is 7
    local ours
    ours=$(entries "${names[@]}" | sort)

    local our_id=$id
    id=${id:0:59}f${id:60}
    bundle=$bundle-conmon
    monitor=/usr/bin/conmon
    contain "$command" --log-tag 'a tag'
    eventually entry_count_is 7
    expect entries "$ours" "$(entries "${names[@]}" | sed "s/$id/$our_id/" | sort)"
}

@test "a line in pieces is one entry, in the file it is P and F (regression 53)" {
    contain "printf wa; sleep 0.3; printf 'rn\\n'" -l "k8s-file:$bundle.log"
    expect_entries 1 MESSAGE CONTAINER_PARTIAL_MESSAGE -- '["warn\n", null]'
    expect 'tags in the file' "$(cut -d' ' -f2- "$bundle.log")" $'stdout P wa\nstdout F rn'
}

@test "a priority in front of a line becomes the entry's, in pieces too (regression 55)" {
    contain "printf '<4'; sleep 0.2; printf '>wa'; sleep 0.2; printf 'rn\\n<0>x\\n<8>y\\n<7>\\n'"
    expect_entries 4 MESSAGE PRIORITY -- '["warn\n", "4"]' '["x\n", "0"]' '["<8>y\n", "6"]' \
        '["\n", "7"]'
}

@test "a longer line than the limit is split, its parts are marked and have its priority" {
    contain "printf '<5>'; head -c 20000 /dev/zero | tr '\\0' a; echo"
    local first=$((16384 - 3))
    expect_entries 2 PRIORITY CONTAINER_PARTIAL_MESSAGE -- '["5", "true"]' '["5", null]'
    expect sizes "$(entries MESSAGE | python3 -c '
import json, sys
print(*[len(json.loads(line)[0]) for line in sys.stdin])')" "$first $((20003 - 16384 + 1))"
}

@test "parts are not marked when that is not wanted" {
    contain "printf unfinished" --no-container-partial-message
    expect_entries 1 MESSAGE CONTAINER_PARTIAL_MESSAGE -- '["unfinished", null]'
}

@test "a record's limit is the knob's" {
    around=(env MOTE_LOG_RECORD_MAX=8192)
    contain "head -c 20000 /dev/zero | tr '\\0' a; echo"
    expect_entries 3 CONTAINER_PARTIAL_MESSAGE -- '["true"]' '["true"]' '[null]'
}

@test "any bytes arrive as they are (regression 54)" {
    head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/random"
    contain "cat $BATS_TEST_TMPDIR/random"
    written() {
        entries MESSAGE PRIORITY CONTAINER_PARTIAL_MESSAGE >"$BATS_TEST_TMPDIR/entries"
        python3 - "$BATS_TEST_TMPDIR/random" "$BATS_TEST_TMPDIR/entries" <<'CHECK'
import json, sys
wanted = open(sys.argv[1], "rb").read()
got = b""
is_start = True
for line in open(sys.argv[2]):
    message, priority, partial = json.loads(line)
    prefix = b"<%s>" % priority.encode()
    # A random line that begins with a priority has lost it.
    if is_start and wanted.startswith(prefix, len(got)):
        got += prefix
    got += message.encode("latin-1")
    is_start = partial is None
sys.exit(got != wanted)
CHECK
    }
    eventually written
}

@test "a flood of lines loses none" {
    contain 'seq 1 20000; seq 1 2000 >&2'
    eventually entry_count_is 22000
    expect numbers "$(entries MESSAGE PRIORITY | sed -n 's/\["\([0-9]*\).n", "6"\]/\1/p' |
        cmp - <(seq 1 20000) && echo same)" same
    expect 'numbers of stderr' "$(entries MESSAGE PRIORITY |
        sed -n 's/\["\([0-9]*\).n", "3"\]/\1/p' | cmp - <(seq 1 2000) && echo same)" same
}

@test "an entry that is too large for a datagram goes as a file" {
    local large
    large=$(head -c 120000 /dev/zero | tr '\0' l)
    contain 'echo small' --log-label "ONE=$large" --log-label "TWO=$large"
    expect_entries 1 MESSAGE -- '["small\n"]'
    expect 'labels' "$(entries ONE TWO | wc -c)" 240009
}

@test "a journal that takes nothing does not delay the exit (regression 56)" {
    local pid
    pid=$(<"$space/journald.pid")
    mkfifo "$BATS_TEST_TMPDIR/gate"
    kill -STOP "$pid"
    # More than the pipe holds: the container is held for a while, and then let go.
    start "seq 1 50000; : >$BATS_TEST_TMPDIR/held; : <$BATS_TEST_TMPDIR/gate; echo again"
    eventually test -e "$BATS_TEST_TMPDIR/held"
    kill -CONT "$pid"
    : >"$BATS_TEST_TMPDIR/gate"
    ended
    # What was lost is lost, and what comes then arrives.
    eventually last_message_is '["again\n"]'
    [ "$(entries MESSAGE | wc -l)" -lt 50000 ]
}

@test "what is in the pipe as a container ends is all in the journal" {
    local start_ms
    start_ms=$(date +%s%3N)
    start 'yes 2>/dev/null | head -c 65536'
    eventually test -e "$bundle/exits/$id"
    echo "took $(($(date +%s%3N) - start_ms)) ms"
    eventually entry_count_is 32768
    expect 'the monitor says' "$(<"$bundle/stderr")" ''
}

@test "a container that ends while the journal is full ends within seconds" {
    local pid start_ms end_ms
    pid=$(<"$space/journald.pid")
    kill -STOP "$pid"
    # As much as the journal's queue holds and some more, but not enough to hold the container.
    local most
    most=$(($(</proc/sys/net/unix/max_dgram_qlen) + 300))
    start_ms=$(date +%s%3N)
    start "seq 1 $most"
    eventually test -e "$bundle/exits/$id"
    end_ms=$(date +%s%3N)
    kill -CONT "$pid"
    # Less than a running container would be held for.
    echo "took $((end_ms - start_ms)) ms"
    [ $((end_ms - start_ms)) -lt 4500 ]
}

@test "a journal that stands still as a container ends gets what both streams hold" {
    local dir=$BATS_TEST_TMPDIR pid
    pid=$(<"$space/journald.pid")
    # More than half of a read: the stream gets the larger pipe for a while. Then one read fills it.
    seq -f %01999.0f 32 >"$dir/flood"
    seq -f %099.0f 1310 >"$dir/full"
    mkfifo "$dir"/{one,two}
    start "cat $dir/flood >&2; : <$dir/one; dd if=$dir/full bs=131000 >&2 2>$dir/dd; : <$dir/two; echo last words; exit 3"
    sleep 0.3
    kill -STOP "$pid"
    : >"$dir/one"
    sleep 0.3
    : >"$dir/two"
    sleep 0.5
    [ ! -e "$bundle/exits/$id" ]
    kill -CONT "$pid"
    eventually test -e "$bundle/exits/$id"
    expect 'exit file' "$(<"$bundle/exits/$id")" 3
    eventually entry_count_is $((32 + 1310 + 1))
}

@test "a journal that was replaced gets what comes then" {
    mkfifo "$BATS_TEST_TMPDIR/gate"
    start "echo before; : <$BATS_TEST_TMPDIR/gate; echo after"
    expect_entries 1 MESSAGE -- '["before\n"]'
    stop_journald
    start_journald
    : >"$BATS_TEST_TMPDIR/gate"
    ended
    eventually entry_count_is 2
    expect_entries 2 MESSAGE -- '["before\n"]' '["after\n"]'
}

@test "where there is no journal the container runs all the same" {
    stop_journald
    contain 'seq 1 1000'
    start_journald
}

@test "entries go to the journal namespace that is named" {
    start_journald other
    around=(env MOTE_JOURNAL_NAMESPACE=other)
    contain 'echo elsewhere'
    journal_namespace=other
    expect_entries 1 MESSAGE -- '["elsewhere\n"]'
    journal_namespace=
    expect 'entries in the main journal' "$(entries MESSAGE)" ''
}
