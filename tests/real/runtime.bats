#!/usr/bin/env bats
#
# The monitor with real runtimes, started by hand as an engine starts it: what it tells its caller,
# what it leaves on disk, and what the container gets.

load support

setup_file() {
    require_root
    export rootfs=$BATS_FILE_TMPDIR/rootfs
    make_rootfs "$rootfs"
}

setup() {
    runtime=runc
    around=()
    bundle=
    monitor=
}

teardown() {
    if [ -n "$monitor" ]; then
        kill -CONT "$monitor" 2>/dev/null || true
    fi
    if [ -n "$bundle" ]; then
        delete_container "$runtime"
        eventually no_process_mentions "$bundle"
    fi
}

# Makes crun the runtime of this test. crun refuses a hybrid of cgroup v1 and v2, so where there is
# one, the monitor and crun get a mount namespace without the v2 part.
use_crun() {
    runtime=crun
    if mountpoint -q /sys/fs/cgroup/unified; then
        around=(unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' around)
    fi
}

# Makes the bundle of this test, with the script $1 as its process.
make_test_bundle() {
    make_bundle "$BATS_TEST_TMPDIR/mote-real-$BATS_TEST_NUMBER" "$1"
    bundle=$BATS_TEST_TMPDIR/mote-real-$BATS_TEST_NUMBER
}

# The container's whole life with the runtime in `runtime`.
check_life() {
    make_test_bundle 'echo out; echo err >&2; exit 42'
    start_monitor "$bundle" "$runtime"
    expect 'status of the first process' "$monitor_status" 0
    [[ "$sync_line" =~ ^\{\"data\":\ ([0-9]+)\}$ ]]
    expect 'pid told' "${BASH_REMATCH[1]}" "$(<"$bundle/pidfile")"
    monitor=$(<"$bundle/conmon.pid")
    [ -e "/proc/$monitor" ]
    start_container "$runtime"
    await_end "$monitor"
    expect 'exit file' "$(<"$bundle/exits/$id")" 42
    expect stdout "$(recorded "$bundle/ctr.log" stdout)" out
    expect stderr "$(recorded "$bundle/ctr.log" stderr)" err
    expect 'stderr of the monitor' "$(<"$bundle/stderr")" ''
    [ ! -e "$bundle/attach" ]
}

@test "runc: create, start and exit are told, recorded and kept" {
    check_life
}

@test "crun: create, start and exit are told, recorded and kept" {
    use_crun
    check_life
}

@test "the exit file has a killed container's signal" {
    make_test_bundle 'sleep 1000'
    start_monitor "$bundle" runc
    start_container runc
    monitor=$(<"$bundle/conmon.pid")
    runc --root="$bundle/state" kill "$id" KILL
    await_end "$monitor"
    expect 'exit file' "$(<"$bundle/exits/$id")" 137
}

@test "TERM to the monitor goes to the container (regression 7)" {
    make_test_bundle 'trap "echo told; exit 9" TERM; echo ready; while :; do sleep 0.1; done'
    start_monitor "$bundle" runc
    start_container runc
    monitor=$(<"$bundle/conmon.pid")
    is_ready() { [ "$(recorded "$bundle/ctr.log" stdout)" = ready ]; }
    eventually is_ready
    kill -TERM "$monitor"
    await_end "$monitor"
    expect 'exit file' "$(<"$bundle/exits/$id")" 9
    expect stdout "$(recorded "$bundle/ctr.log" stdout)" $'ready\ntold'
}

@test "a container that is never started ends when the runtime deletes it" {
    make_test_bundle 'exit 1'
    start_monitor "$bundle" runc
    monitor=$(<"$bundle/conmon.pid")
    runc --root="$bundle/state" delete --force "$id"
    await_end "$monitor"
    expect 'exit file' "$(<"$bundle/exits/$id")" 137
}

@test "what a failing runc said is told, and the exit command runs (regression 31)" {
    make_test_bundle true
    jq '.process.args = ["/no/such/program"]' "$bundle/config.json" >"$bundle/new"
    mv "$bundle/new" "$bundle/config.json"
    start_monitor "$bundle" runc --exit-command /bin/sh --exit-command-arg -c \
        --exit-command-arg "touch $bundle/exit-command-ran"
    expect message "$(jq -r .data <<<"$sync_line")" -1
    [[ "$(jq -r .message <<<"$sync_line")" == */no/such/program* ]]
    eventually test -e "$bundle/exit-command-ran"
    [ ! -e "$bundle/exits/$id" ]
}

@test "what a failing crun said is told (regression 31)" {
    use_crun
    make_test_bundle true
    jq '.process.args = ["/no/such/program"]' "$bundle/config.json" >"$bundle/new"
    mv "$bundle/new" "$bundle/config.json"
    start_monitor "$bundle" crun
    expect message "$(jq -r .data <<<"$sync_line")" -1
    [[ "$(jq -r .message <<<"$sync_line")" == */no/such/program* ]]
}

@test "the exit command sees the exit file, and nothing of the monitor's descriptors (regression 28)" {
    make_test_bundle 'exit 5'
    start_monitor "$bundle" runc --exit-command /bin/sh --exit-command-arg -c \
        --exit-command-arg "cat $bundle/exits/* >$bundle/seen; ls /proc/self/fd >$bundle/fds"
    monitor=$(<"$bundle/conmon.pid")
    start_container runc
    await_end "$monitor"
    expect 'exit file as seen' "$(<"$bundle/seen")" 5
    # 1 is the redirection, 3 is ls' own.
    expect descriptors "$(<"$bundle/fds")" $'0\n1\n2\n3'
}

@test "--sync makes the started process the monitor, which ends with the container's status (regression 17)" {
    make_test_bundle 'exit 44'
    start_later() {
        until [ -s "$bundle/pidfile" ]; do sleep 0.02; done
        # The pid file is there a moment before the container can be started.
        until runc --root="$bundle/state" start "${bundle##*/}"; do sleep 0.02; done
    }
    start_later 3>&- >/dev/null 2>&1 &
    start_monitor "$bundle" runc --sync
    expect 'status of the monitor' "$monitor_status" 44
    expect 'exit file' "$(<"$bundle/exits/$id")" 44
    expect 'first message' "$sync_line" "{\"data\": $(<"$bundle/pidfile")}"
}

@test "a container has pipes of its own as stdout and stderr, and no stdin without -i (regression 37)" {
    make_test_bundle 'ls -l /proc/self/fd | sed "s/.* -> //"; stat -L -c %a /proc/self/fd/1 /proc/self/fd/2'
    start_monitor "$bundle" runc
    monitor=$(<"$bundle/conmon.pid")
    start_container runc
    await_end "$monitor"
    mapfile -t said < <(recorded "$bundle/ctr.log" stdout)
    # The first line is the sum that ls prints, and its own stdout is the pipe to sed.
    expect stdin "${said[1]}" /dev/null
    [[ "${said[3]}" =~ ^pipe: ]]
}

@test "every line of 100,000 is recorded in order" {
    make_test_bundle 'seq 1 100000'
    start_monitor "$bundle" runc
    monitor=$(<"$bundle/conmon.pid")
    start_container runc
    await_end "$monitor"
    expect 'sum of the lines' "$(recorded "$bundle/ctr.log" stdout | sha256sum)" "$(seq 1 100000 | sha256sum)"
}

@test "a client that connected before the start gets all output, however late the monitor runs" {
    make_test_bundle 'echo out; exit 3'
    start_monitor "$bundle" runc
    monitor=$(<"$bundle/conmon.pid")
    container=$(<"$bundle/pidfile")
    # The monitor sees the connection, the output and the end all at once when it goes on.
    kill -STOP "$monitor"
    timeout "$deadline_s" "$BATS_TEST_DIRNAME/attach_client.py" "$bundle/attach" \
        >"$BATS_TEST_TMPDIR/attached" 2>"$BATS_TEST_TMPDIR/client" 3>&- &
    client=$!
    eventually grep -q connected "$BATS_TEST_TMPDIR/client"
    start_container runc
    is_zombie() { [[ "$(</proc/"$container"/stat)" == *') Z '* ]]; }
    eventually is_zombie
    kill -CONT "$monitor"
    await_end "$monitor"
    wait "$client"
    expect 'what the client got' "$(<"$BATS_TEST_TMPDIR/attached")" "2 b'out\\n'"
}
