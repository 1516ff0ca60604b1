#!/usr/bin/env bats
#
# The monitor under the installed Podman, with runc: the daily work, as users see it.

load support

setup_file() {
    require_root
    export rootfs=$BATS_FILE_TMPDIR/rootfs
    make_rootfs "$rootfs"
    make_podman "$BATS_FILE_TMPDIR/podman" runc
}

teardown_file() {
    remove_podman
}

teardown() {
    podman rm -f -a -t 0 >/dev/null
}

@test "Podman uses the monitor under test" {
    podman_run -d --name=one sleep 1000
    monitor=$(<"$(inspect one .ConmonPidFile)")
    expect 'program of the monitor' "$(readlink "/proc/$monitor/exe")" "$(realpath "$MOTE_CONMON")"
    expect 'name of the monitor' "$(<"/proc/$monitor/comm")" conmon
}

@test "run --rm prints what the container prints, and leaves nothing" {
    run --separate-stderr podman_run --rm echo hello
    expect status "$status" 0
    expect output "$output" hello
    expect stderr "$stderr" ''
    expect 'containers left' "$(podman ps -a -q)" ''
    eventually no_process_mentions "$podman_home"
}

@test "run keeps stdout and stderr apart" {
    run --separate-stderr podman_run --rm sh -c 'echo out; echo err >&2'
    expect stdout "$output" out
    expect stderr "$stderr" err
}

@test "run ends with the container's exit code" {
    for code in 0 1 42 125 255; do
        run podman_run --rm sh -c "exit $code"
        expect "exit $code" "$status" "$code"
    done
}

@test "run ends with 137 when the container was killed, and 143 when it was terminated" {
    # Pid 1 of a container gets no signal of its own making, so the shell is not pid 1.
    run podman_run --rm --pid=host sh -c 'kill -9 $$'
    expect 'status after KILL' "$status" 137
    run podman_run --rm --pid=host sh -c 'kill -15 $$'
    expect 'status after TERM' "$status" 143
}

@test "run of a missing command ends with 127 and names the command" {
    run -127 podman_run --rm no-such-command
    expect status "$status" 127
    [[ "$output" == *no-such-command* ]]
    expect 'containers left' "$(podman ps -a -q)" ''
}

@test "run of a file that cannot be executed ends with 126" {
    run podman_run --rm /etc/passwd
    expect status "$status" 126
}

@test "run -d, logs, wait, stop and rm are a life" {
    run --separate-stderr podman_run -d --name=life sh -c 'echo up; trap "echo bye; exit 7" TERM; while :; do sleep 0.1; done'
    expect status "$status" 0
    [[ "$output" =~ ^[0-9a-f]{64}$ ]]
    said_up() { [ "$(podman logs life)" = up ]; }
    eventually said_up
    podman stop -t 20 life
    expect 'exit code by wait' "$(podman wait life)" 7
    expect logs "$(podman logs life)" $'up\nbye'
    podman rm life
    expect 'containers left' "$(podman ps -a -q)" ''
    eventually no_process_mentions "$podman_home"
}

@test "wait gives the exit code of a container that ends by itself" {
    podman_run -d --name=ends sh -c 'sleep 0.3; exit 42'
    expect 'exit code by wait' "$(podman wait ends)" 42
    expect 'exit code by inspect' "$(inspect ends .State.ExitCode)" 42
    expect status "$(inspect ends .State.Status)" exited
}

@test "wait gives the exit code of a container that ended at once" {
    for round in 1 2 3 4 5; do
        podman_run -d --name="quick$round" sh -c "exit $round"
        expect "exit code of round $round" "$(podman wait "quick$round")" "$round"
    done
}

@test "logs gives both streams where they belong, also lines without an end" {
    podman_run -d --name=streams sh -c 'echo one; echo two >&2; printf three'
    podman wait streams
    run --separate-stderr podman logs streams
    expect stdout "$output" $'one\nthree'
    expect stderr "$stderr" two
}

@test "logs -f follows a container to its end" {
    podman_run -d --name=follow sh -c 'for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done'
    run podman logs -f follow
    expect status "$status" 0
    expect logs "$output" $'line 1\nline 2\nline 3\nline 4\nline 5'
}

@test "logs --tail gives the last lines of many" {
    podman_run -d --name=many sh -c 'seq 1 20000'
    podman wait many
    expect tail "$(podman logs --tail 2 many)" $'19999\n20000'
    expect 'sum of all lines' "$(podman logs many | sha256sum)" "$(seq 1 20000 | sha256sum)"
}

@test "run prints every byte of much output" {
    podman_run --rm seq 1 200000 >"$BATS_TEST_TMPDIR/out"
    expect 'sum of the output' "$(sha256sum <"$BATS_TEST_TMPDIR/out")" "$(seq 1 200000 | sha256sum)"
}

@test "stop kills a container that ignores TERM" {
    podman_run -d --name=deaf sh -c 'trap "" TERM; echo ready; while :; do sleep 0.1; done'
    said_ready() { [ "$(podman logs deaf)" = ready ]; }
    eventually said_ready
    podman stop -t 1 deaf
    expect 'exit code' "$(podman wait deaf)" 137
}

@test "kill sends the signal that is named" {
    podman_run -d --name=usr sh -c 'trap "echo got it; exit 5" USR1; echo ready; while :; do sleep 0.1; done'
    said_ready() { [ "$(podman logs usr)" = ready ]; }
    eventually said_ready
    podman kill --signal USR1 usr
    expect 'exit code' "$(podman wait usr)" 5
    expect logs "$(podman logs usr)" $'ready\ngot it'
}

@test "ps shows a container as created, up and exited" {
    podman create --network none --name states --rootfs "$rootfs" sh -c 'sleep 1000' >/dev/null
    state() { podman ps -a --filter name=states --format '{{.Status}}'; }
    expect 'state at first' "$(state)" Created
    podman start states
    [[ "$(state)" == Up* ]]
    podman kill states
    podman wait states
    [[ "$(state)" == 'Exited (137)'* ]]
}

@test "start runs a container again, with its log going on" {
    podman create --network none --name again --rootfs "$rootfs" sh -c 'echo round; exit 3' >/dev/null
    for round in 1 2 3; do
        podman start again
        expect "exit code of round $round" "$(podman wait again)" 3
    done
    expect logs "$(podman logs again)" $'round\nround\nround'
}

@test "start --attach prints the output and ends with the exit code" {
    podman create --network none --name attached --rootfs "$rootfs" sh -c 'echo here; exit 9' >/dev/null
    run podman start --attach attached
    expect status "$status" 9
    expect output "$output" here
}

@test "restart gives a container a new process and a new monitor" {
    podman_run -d --name=fresh sleep 1000
    before=$(inspect fresh .State.Pid)
    monitor_before=$(inspect fresh .State.ConmonPid)
    podman restart -t 0 fresh
    [ "$(inspect fresh .State.Pid)" != "$before" ]
    [ "$(inspect fresh .State.ConmonPid)" != "$monitor_before" ]
    await_end "$monitor_before"
    expect status "$(inspect fresh .State.Status)" running
}

@test "the restart policy starts a failing container again as often as it says (regression 19)" {
    podman_run -d --name=retry --restart=on-failure:2 sh -c 'echo try; exit 6'
    three_tries() { [ "$(podman logs retry)" = $'try\ntry\ntry' ]; }
    eventually three_tries
    ended() { [ "$(inspect retry .State.Status)" = exited ]; }
    eventually ended
    expect restarts "$(inspect retry .RestartCount)" 2
    expect 'exit code' "$(inspect retry .State.ExitCode)" 6
    # No chain of monitors, each waiting for the next, is left.
    eventually no_process_mentions "$podman_home"
}

@test "the restart policy leaves a container alone that succeeds" {
    podman_run -d --name=once --restart=on-failure:2 sh -c 'echo try'
    podman wait once
    eventually no_process_mentions "$podman_home"
    expect logs "$(podman logs once)" try
    expect restarts "$(inspect once .RestartCount)" 0
}

@test "the cleanup command has run when the monitor has gone" {
    podman_run -d --name=clean sh -c 'until [ -e /tmp/go ]; do sleep 0.05; done; exit 4'
    monitor=$(inspect clean .State.ConmonPid)
    touch "$rootfs/tmp/go"
    await_end "$monitor"
    # Without cleanup it would say stopped.
    expect status "$(inspect clean .State.Status)" exited
    expect 'exit files left' "$(ls "$podman_home/tmp/exits")" ''
}

@test "run -i gives the container what is on stdin" {
    run podman_run -i --rm cat < <(printf 'one\ntwo\n')
    expect status "$status" 0
    expect output "$output" $'one\ntwo'
}

@test "run -i gives the container the end of stdin" {
    run podman_run -i --rm wc -c </dev/null
    expect status "$status" 0
    expect output "$(tr -d ' ' <<<"$output")" 0
}

@test "run without -i gives the container an empty stdin" {
    run podman_run --rm wc -c < <(echo text)
    expect status "$status" 0
    expect output "$(tr -d ' ' <<<"$output")" 0
}

@test "a container's user can open its own stdout (regression 37)" {
    run podman_run --rm --user=1000 sh -c 'echo mine >/dev/stdout; echo too >/dev/stderr'
    expect status "$status" 0
    expect output "$output" $'mine\ntoo'
}

@test "a container has no descriptors but its three (regression 73)" {
    run podman_run --rm sh -c 'ls /proc/self/fd'
    # The fourth is ls' own, of the directory.
    expect descriptors "$output" $'0\n1\n2\n3'
}

@test "a container's processes are not harder to kill than the caller's (regression 29)" {
    run podman_run --rm cat /proc/self/oom_score_adj
    expect oom_score_adj "$output" "$(</proc/self/oom_score_adj)"
}

@test "--preserve-fds hands a descriptor to the container" {
    echo preserved >"$BATS_TEST_TMPDIR/file"
    # Podman takes the descriptors from 3 on; bats' own 3 is not needed here.
    run podman_run --rm --preserve-fds=1 sh -c 'cat <&3' 3<"$BATS_TEST_TMPDIR/file"
    expect status "$status" 0
    expect output "$output" preserved
}

@test "twenty containers at once each have their own output and exit code" {
    for n in $(seq 20); do
        podman_run -d --name="at-once-$n" sh -c "echo container $n; exit $n" >/dev/null &
    done
    wait
    for n in $(seq 20); do
        expect "exit code of $n" "$(podman wait "at-once-$n")" "$n"
        expect "log of $n" "$(podman logs "at-once-$n")" "container $n"
    done
    podman rm -a >/dev/null
    eventually no_process_mentions "$podman_home"
}

@test "the log on disk is a k8s-file, record by record" {
    podman_run -d --name=file sh -c 'echo out; sleep 0.2; echo err >&2; sleep 0.2; printf part'
    podman wait file
    log=$(inspect file .HostConfig.LogConfig.Path)
    stamp='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}[+-][0-9]{2}:[0-9]{2}'
    mapfile -t lines <"$log"
    expect 'number of records' "${#lines[@]}" 3
    [[ "${lines[0]}" =~ ^$stamp\ stdout\ F\ out$ ]]
    [[ "${lines[1]}" =~ ^$stamp\ stderr\ F\ err$ ]]
    [[ "${lines[2]}" =~ ^$stamp\ stdout\ P\ part$ ]]
}

@test "rm -f of a running container ends its monitor" {
    podman_run -d --name=gone sleep 1000
    monitor=$(inspect gone .State.ConmonPid)
    podman rm -f -t 0 gone
    await_end "$monitor"
    expect 'containers left' "$(podman ps -a -q)" ''
}

@test "pause stops a container and unpause lets it go on" {
    podman_run -d --name=paused sh -c 'sleep 0.5; echo done; exit 8'
    podman pause paused
    expect status "$(inspect paused .State.Status)" paused
    podman unpause paused
    expect 'exit code' "$(podman wait paused)" 8
    expect logs "$(podman logs paused)" done
}
