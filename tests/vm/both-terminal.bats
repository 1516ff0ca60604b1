#!/usr/bin/env bats
#
# Terminals and attached clients under Podman 5: run -it, attach, detach, and window sizes.

load support

# on_terminal.py: the longest that one step may take.
export STEP_LIMIT_S=$deadline_s

teardown() {
    end_of_test
}

@test "run -it through script(1) gives the container a terminal of the caller's size" {
    run timeout -k 5 "$deadline_s" script -qec "stty rows 33 cols 101 && podman run --rm -it --network=none $image \
        sh -c 'test -t 0 && test -t 1 && test -t 2 && until [ \"\$(stty size)\" = \"33 101\" ]; do sleep 0.1; done; echo yes; exit 7'" \
        /dev/null </dev/null
    expect status "$status" 7
    # Before it may stand what script makes of the end of its own stdin.
    [[ "$(tr '\r' R <<<"$output")" == *yesR ]]
}

@test "run -it passes on what is typed, changes of the window's size, and the exit code (regression 69)" {
    run on_terminal 24 80 -e '# ' -t 'echo $((6*7))\n' -e 42 -e '# ' \
        -s 40x120 -t 'until [ "$(stty size)" = "40 120" ]; do sleep 0.1; done; echo re"sized"\n' -e resized -e '# ' \
        -t 'exit 7\n' -- run --network=none -it --rm "$image" sh
    expect status "$status" 7
}

@test "run -it makes ctrl-c an interrupt of the container" {
    run on_terminal 24 80 -e ready -t '\x03' -e caught -- run --network=none -it --rm "$image" \
        sh -c 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.1; done'
    expect status "$status" 9
}

@test "run -it lets go at ctrl-p ctrl-q, and attach takes up again" {
    run on_terminal 24 80 -e '# ' -t '\x10' -w 1000 -t '\x11' -- \
        run --network=none -it --name=back "$image" sh
    expect status "$status" 0
    expect state "$(inspect back .State.Status)" running
    run on_terminal 24 80 -t 'echo $((40+2))\n' -e 42 -t 'exit 3\n' -- attach back
    expect 'exit code' "$(podman wait back)" 3
}

@test "run -it shows much output whole" {
    run on_terminal 24 80 -- run --network=none -it --rm "$image" seq 1 20000
    expect status "$status" 0
    expect sum "$(tr -d '\r' <<<"$output" | sha256sum)" "$(seq 1 20000 | sha256sum)"
}

@test "run -t records the terminal's output as stdout" {
    podman_run -d -t --name=tty --log-driver=k8s-file sh -c 'echo out; echo err >&2'
    podman wait tty
    run --separate-stderr podman logs tty
    expect stdout "$(tr -d '\r' <<<"$output")" $'out\nerr'
    expect stderr "$stderr" ''
}

@test "attach shows what comes from then on and ends with the container" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    podman_run -d --name=att "--volume=$BATS_TEST_TMPDIR:/t" sh -c 'read word </t/go; echo seen; exit 5'
    monitor=$(inspect att .State.ConmonPid)
    sockets() { ls -l "/proc/$monitor/fd" | grep -c socket:; }
    before=$(sockets)
    podman attach att >"$BATS_TEST_TMPDIR/shown" 2>&1 &
    attached=$!
    # Podman has connected once the monitor holds one more socket; what was printed before then could
    # pass it by.
    has_client() { [ "$(sockets)" -gt "$before" ]; }
    eventually has_client
    tell "$BATS_TEST_TMPDIR/go"
    wait "$attached"
    expect shown "$(cat "$BATS_TEST_TMPDIR/shown")" seen
    expect 'exit code' "$(podman wait att)" 5
}

@test "attach gives stdin to a running container" {
    podman_run -d -i --name=feed sh -c 'read line; echo "got $line"; exit 6'
    run podman attach feed < <(echo word)
    expect output "$output" 'got word'
    expect 'exit code' "$(podman wait feed)" 6
}
