#!/usr/bin/env bats
#
# Exec sessions under Podman 5. One container serves the whole file; after each test its monitor is
# the only one left.

load support

# on_terminal.py: the longest that one step may take.
export STEP_LIMIT_S=$deadline_s

setup_file() {
    podman_run -d --name=host sleep 100000
}

teardown_file() {
    end_of_test
}

teardown() {
    tell_of_failure
    # Neither a monitor nor a session stays behind (regression 18).
    eventually monitors_are 1
    expect 'sessions left' "$(inspect host .ExecIDs)" '[]'
}

@test "exec keeps stdout and stderr apart and ends with the exit code (regression 15)" {
    for code in 0 3 126 137 255; do
        run --separate-stderr podman exec host sh -c "echo out; echo err >&2; exit $code"
        expect status "$status" "$code"
        expect stdout "$output" out
        expect stderr "$stderr" err
    done
}

@test "exec of a process that is killed ends with 137" {
    run podman exec host sh -c 'kill -9 $$'
    expect status "$status" 137
}

@test "exec of a missing command ends with 127 and names it (regression 16)" {
    run -127 podman exec host no-such-command
    [[ "$output" == *no-such-command* ]]
}

@test "exec of a file that cannot be executed ends with 126" {
    run podman exec host /etc/passwd
    expect status "$status" 126
}

@test "exec -t of a missing command ends with 127 and names it (regression 16)" {
    run -127 on_terminal 24 80 -- exec -it host no-such-command
    [[ "$output" == *no-such-command* ]]
}

@test "exec -it gives a terminal of the caller's size, and the exit code (regression 69)" {
    run on_terminal 37 111 -e 'size:37 111' -- exec -it host \
        sh -c 'until [ "$(stty size)" = "37 111" ]; do sleep 0.1; done; echo "size:$(stty size)"; exit 4'
    expect status "$status" 4
}

@test "exec -it passes on a change of the window's size and what is typed" {
    run on_terminal 24 80 -e '# ' -s 40x120 \
        -t 'until [ "$(stty size)" = "40 120" ]; do sleep 0.1; done; echo re"sized"\n' -e resized -t 'exit 8\n' -- \
        exec -it host sh
    expect status "$status" 8
}

@test "exec -i carries 3 MB both ways unchanged (regression 9)" {
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    podman exec -i host cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
}

@test "exec -d returns at once and the command runs on" {
    # In a container of its own: Podman keeps such a session in its list.
    mkfifo "$BATS_TEST_TMPDIR/go"
    podman_run -d --name=other "--volume=$BATS_TEST_TMPDIR:/t" sleep 1000
    podman exec -d other sh -c 'read word </t/go; touch /t/after'
    monitors_are 3
    tell "$BATS_TEST_TMPDIR/go"
    eventually test -e "$BATS_TEST_TMPDIR/after"
    eventually monitors_are 2
    podman rm -f -t 0 other
}

@test "a quick command loses neither its output nor its exit code, ten times (regression 10)" {
    for n in $(seq 10); do
        run podman exec host sh -c "seq 1 2000; exit $n"
        expect "status of $n" "$status" "$n"
        expect "last line of $n" "${lines[-1]}" 2000
    done
}

@test "five sessions at once each have their own output" {
    started=()
    for n in 1 2 3 4 5; do
        podman exec host sh -c "echo session $n" >"$BATS_TEST_TMPDIR/$n" &
        started+=($!)
    done
    wait "${started[@]}"
    for n in 1 2 3 4 5; do
        expect "output of $n" "$(cat "$BATS_TEST_TMPDIR/$n")" "session $n"
    done
}
