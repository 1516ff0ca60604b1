#!/usr/bin/env bats
#
# The life of containers under Podman 5, with crun on cgroup v2 and systemd's cgroup manager: what is
# run, logged, waited for, stopped, restarted, checked and killed.

load support

teardown() {
    end_of_test
}

@test "Podman has cgroup v2, systemd's cgroup manager, and the monitor under test" {
    expect cgroups "$(podman info --format '{{.Host.CgroupsVersion}} {{.Host.CgroupManager}}')" 'v2 systemd'
    podman_run -d --name=one sleep 1000
    monitor=$(inspect one .State.ConmonPid)
    expect 'program of the monitor' "$(readlink "/proc/$monitor/exe")" /usr/bin/conmon
    if [ -z "$MOTE_REFERENCE" ]; then
        cmp "/proc/$monitor/exe" /vm/bin/conmon
    fi
    # The monitor has a scope of its own, beside the container's.
    expect 'cgroup of the monitor' "$(<"/proc/$monitor/cgroup")" \
        "0::/machine.slice/libpod-conmon-$(inspect one .Id).scope"
}

@test "run prints what the container prints and ends as it does, with crun and with runc" {
    for runtime in crun runc; do
        run --separate-stderr podman --runtime "$runtime" run --rm --network=none "$image" \
            sh -c 'echo out; echo err >&2; exit 42'
        expect "status with $runtime" "$status" 42
        expect "stdout with $runtime" "$output" out
        expect "stderr with $runtime" "$stderr" err
    done
}

@test "run of a missing command ends with 127 and names it" {
    run -127 podman_run --rm no-such-command
    [[ "$output" == *no-such-command* ]]
}

@test "run -d, logs, wait, stop and rm are a life, with crun and with runc" {
    for runtime in crun runc; do
        podman --runtime "$runtime" run -d --name=life --network=none --log-driver=k8s-file "$image" \
            sh -c 'echo up; echo error >&2; trap "echo bye; exit 7" TERM; sleep 1000 & wait'
        said_up() { [ "$(podman logs life 2>/dev/null)" = up ]; }
        eventually said_up
        podman stop -t 100 life
        expect 'exit code by wait' "$(podman wait life)" 7
        run --separate-stderr podman logs life
        expect 'stdout in the log' "$output" $'up\nbye'
        expect 'stderr in the log' "$stderr" error
        podman rm life
        expect 'containers left' "$(podman ps -a -q)" ''
        eventually monitors_are 0
    done
}

@test "stop kills a container that ignores TERM" {
    podman_run -d --name=deaf sh -c 'trap "" TERM; sleep 1000'
    podman stop -t 1 deaf
    expect 'exit code' "$(podman wait deaf)" 137
}

@test "rm -f of a running container ends its monitor" {
    podman_run -d --name=gone sleep 1000
    monitor=$(inspect gone .State.ConmonPid)
    podman rm -f -t 0 gone
    await_end "$monitor"
    expect 'containers left' "$(podman ps -a -q)" ''
}

@test "run -i carries 3 MB of stdin through a container unchanged (regression 9)" {
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    podman_run -i --rm cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
}

@test "logs -f follows a k8s-file log to its end" {
    podman_run -d --name=follow --log-driver=k8s-file sh -c 'for n in 1 2 3; do echo line $n; sleep 1; done'
    run podman logs -f follow
    expect status "$status" 0
    expect logs "$output" $'line 1\nline 2\nline 3'
}

@test "--timeout ends a container that takes longer (regression 25)" {
    run podman_run --name=late --timeout=3 sh -c 'sleep 12345 & sleep 12345'
    expect status "$status" 255
    cleaned_up() { [ "$(inspect late .State.Status)" = exited ]; }
    eventually cleaned_up
    gone() { ! pgrep -f '^sleep 12345'; }
    eventually gone
}

@test "--log-driver=passthrough gives the container the caller's own stdout and stderr" {
    run --separate-stderr podman_run --rm --log-driver=passthrough sh -c 'echo out; echo err >&2; exit 3'
    expect status "$status" 3
    expect stdout "$output" out
    expect stderr "$stderr" err
}

@test "--log-driver=none shows what is printed and keeps nothing" {
    run podman_run --name=quiet --log-driver=none echo shown
    expect status "$status" 0
    expect output "$output" shown
    run podman logs quiet
    [ "$status" -ne 0 ]
}

@test "healthcheck run tells health from sickness (regression 15)" {
    podman_run -d --name=health --health-cmd='test -e /tmp/well' --health-interval=disable sleep 1000
    run podman healthcheck run health
    expect 'status when sick' "$status" 1
    podman exec health touch /tmp/well
    podman healthcheck run health
    eventually monitors_are 1
}

@test "systemd's timer finds a container healthy, and no monitor of a check stays behind" {
    podman_run -d --name=health --health-cmd='true' --health-interval=5s sleep 1000
    healthy() { [ "$(inspect health .State.Health.Status)" = healthy ]; }
    eventually healthy
    podman stop -t 0 health
    eventually monitors_are 0
}

@test "the restart policy starts a failing container again as often as it says (regression 19)" {
    podman_run -d --name=retry --log-driver=k8s-file --restart=on-failure:2 sh -c 'echo try; exit 6'
    ended() { [ "$(podman inspect --format '{{.State.Status}} {{.RestartCount}}' retry)" = 'exited 2' ]; }
    eventually ended
    expect 'exit code' "$(inspect retry .State.ExitCode)" 6
    expect logs "$(podman logs retry)" $'try\ntry\ntry'
    # No chain of monitors, each waiting for the next, is left.
    eventually monitors_are 0
}

@test "fifty containers that end at once each have their own output and exit code" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    started=()
    for n in $(seq 50); do
        podman_run -d --name="at-once-$n" --log-driver=k8s-file "--volume=$BATS_TEST_TMPDIR:/t" \
            sh -c "cat /t/go >/dev/null; echo container $n; exit $n" >/dev/null &
        started+=($!)
        # A few at a time, or the machine's memory would be full of podman.
        if [ $((n % 5)) -eq 0 ]; then
            wait "${started[@]}"
            started=()
        fi
    done
    monitors_are 50
    tell "$BATS_TEST_TMPDIR/go"
    for n in $(seq 50); do
        expect "exit code of $n" "$(podman wait "at-once-$n")" "$n"
        expect "log of $n" "$(podman logs "at-once-$n")" "container $n"
    done
    eventually monitors_are 0
}

@test "a container outlives a podman that is killed, and its end is recorded" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    command podman run --name=orphan --network=none --log-driver=k8s-file -v "$BATS_TEST_TMPDIR:/t" "$image" \
        sh -c 'echo before; read word </t/go; echo after; exit 5' >"$BATS_TEST_TMPDIR/shown" 2>&1 &
    client=$!
    eventually grep -q before "$BATS_TEST_TMPDIR/shown"
    kill -9 "$client"
    monitor=$(inspect orphan .State.ConmonPid)
    tell "$BATS_TEST_TMPDIR/go"
    await_end "$monitor"
    expect state "$(inspect orphan .State.Status)" exited
    expect 'exit code' "$(podman wait orphan)" 5
    expect logs "$(podman logs orphan)" $'before\nafter'
}

@test "an exec session outlives a podman that is killed, and leaves no monitor when it ends" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    podman_run -d --name=host "--volume=$BATS_TEST_TMPDIR:/t" sleep 1000
    command podman exec host sh -c 'echo before; read word </t/go; touch /t/after' \
        >"$BATS_TEST_TMPDIR/shown" 2>&1 &
    client=$!
    eventually grep -q before "$BATS_TEST_TMPDIR/shown"
    kill -9 "$client"
    monitors_are 2
    tell "$BATS_TEST_TMPDIR/go"
    eventually test -e "$BATS_TEST_TMPDIR/after"
    eventually monitors_are 1
}

@test "a pod's containers and its infra container each have a monitor, and end together" {
    podman pod create --name=pod --network=none
    podman run -d --pod=pod --name=member "$image" sleep 1000
    monitors_are 2
    podman pod rm -f -t 0 pod
    eventually monitors_are 0
}
