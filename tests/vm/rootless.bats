#!/usr/bin/env bats
#
# Containers of an ordinary user, with a systemd and a cgroup of their own. tests/vm/guest runs this
# file as that user.

load support

# on_terminal.py: the longest that one step may take.
export STEP_LIMIT_S=$deadline_s

teardown() {
    systemctl --user stop mote.service 2>/dev/null || true
    end_of_test
}

@test "the user is no one special, and the monitor runs as him in a scope of his own" {
    [ "$(id -u)" -ne 0 ]
    expect rootless "$(podman info --format '{{.Host.Security.Rootless}} {{.Host.CgroupsVersion}} {{.Host.CgroupManager}}')" 'true v2 systemd'
    podman_run -d --name=one sleep 1000
    monitor=$(inspect one .State.ConmonPid)
    expect 'program of the monitor' "$(readlink "/proc/$monitor/exe")" /usr/bin/conmon
    expect 'user of the monitor' "$(stat -c %u "/proc/$monitor")" "$(id -u)"
    [[ "$(<"/proc/$monitor/cgroup")" == *"/user@$(id -u).service/"*"/libpod-conmon-$(inspect one .Id).scope" ]]
}

@test "run prints what the container prints and ends as it does" {
    run --separate-stderr podman_run --rm sh -c 'id -u; echo err >&2; exit 42'
    expect status "$status" 42
    expect stdout "$output" 0
    expect stderr "$stderr" err
}

@test "run -d, logs, exec, wait, stop and rm are a life" {
    podman_run -d --name=life --log-driver=k8s-file \
        sh -c 'echo up; echo error >&2; trap "echo bye; exit 7" TERM; sleep 1000 & wait'
    said_up() { [ "$(podman logs life 2>/dev/null)" = up ]; }
    eventually said_up
    run --separate-stderr podman exec life sh -c 'echo out; echo err >&2; exit 3'
    expect 'exec' "$status $output $stderr" '3 out err'
    run -127 podman exec life no-such-command
    eventually monitors_are 1
    podman stop -t 100 life
    expect 'exit code by wait' "$(podman wait life)" 7
    run --separate-stderr podman logs life
    expect 'stdout in the log' "$output" $'up\nbye'
    expect 'stderr in the log' "$stderr" error
    podman rm life
}

@test "run -it and exec -it have terminals of the caller's size" {
    run on_terminal 33 101 -e 'size:33 101' -- run --name=tty --network=none -it --rm "$image" \
        sh -c 'until [ "$(stty size)" = "33 101" ]; do sleep 0.1; done; echo "size:$(stty size)"; exit 7'
    expect 'status of run' "$status" 7
    podman_run -d --name=host sleep 1000
    run on_terminal 37 111 -e 'size:37 111' -- exec -it host \
        sh -c 'until [ "$(stty size)" = "37 111" ]; do sleep 0.1; done; echo "size:$(stty size)"; exit 4'
    expect 'status of exec' "$status" 4
}

@test "run -i carries 1 MB of stdin through a container unchanged (regression 9)" {
    head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    podman_run -i --rm cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
}

@test "a container that is killed for want of memory is reported so" {
    run podman_run --name=hungry --memory=16m --memory-swap=16m tail /dev/zero
    expect status "$status" 137
    expect OOMKilled "$(inspect hungry .State.OOMKilled)" true
}

@test "a service of the user's own systemd has the monitor as its main process" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    systemd-run --user --unit=mote -p Type=notify -p NotifyAccess=all -p "TimeoutStartSec=$deadline_s" \
        podman run -d --rm --name=mote --network=none --log-driver=k8s-file --sdnotify=conmon \
        --cgroups=no-conmon -v "$BATS_TEST_TMPDIR:/t" "$image" sh -c 'read word </t/go; exit 3'
    monitor=$(systemctl --user show -P MainPID mote.service)
    expect 'name of the main process' "$(<"/proc/$monitor/comm")" conmon
    tell "$BATS_TEST_TMPDIR/go"
    ended() { [ "$(systemctl --user show -P ActiveState mote.service)" = failed ]; }
    eventually ended
    expect 'status of the unit' "$(systemctl --user show -P ExecMainStatus mote.service)" 3
    systemctl --user reset-failed mote.service
}

@test "the user's monitors say nothing of oom_score_adj (regression 29)" {
    podman_run --rm true
    run journalctl --no-pager -t conmon -o cat
    [[ "$output" != *oom_score_adj* ]]
}
