#!/usr/bin/env bats
#
# What goes on without anybody at the terminal, for root and for an ordinary user alike (tests/vm/guest
# runs this file as both): restart policies, health checks, and clients that are killed.

load support

teardown() {
    end_of_test
}

# Starts container $1 with restart policy $2. It says `up`, waits for a number, and ends with it.
start_with_policy() {
    mkfifo "$BATS_TEST_TMPDIR/$1"
    podman_run -d "--name=$1" --log-driver=k8s-file "--restart=$2" "--volume=$BATS_TEST_TMPDIR/$1:/number" \
        sh -c 'echo up; read number </number; exit $number'
}

# Has container $1 end with status $2.
end_with() {
    timeout "$deadline_s" sh -c 'echo "$2" >"$1"' end_with "$BATS_TEST_TMPDIR/$1" "$2"
}

# Succeeds when container $1 is in state $2 after $3 restarts.
state_is() {
    [ "$(podman inspect --format '{{.State.Status}} {{.RestartCount}}' "$1")" = "$2 $3" ]
}

@test "restart policies start those again that they say, and one monitor for each (regression 19)" {
    start_with_policy always always
    start_with_policy unless unless-stopped
    start_with_policy failure on-failure
    start_with_policy never no
    for name in always unless failure never; do
        end_with "$name" 3
    done
    eventually state_is always running 1
    eventually state_is unless running 1
    eventually state_is failure running 1
    eventually state_is never exited 0
    expect 'exit code' "$(podman wait never)" 3
    eventually monitors_are 3

    for name in always unless failure; do
        end_with "$name" 0
    done
    eventually state_is always running 2
    eventually state_is unless running 2
    eventually state_is failure exited 1
    eventually monitors_are 2

    # Each life has its line in the one log.
    podman stop -t 0 always unless
    expect 'log of always' "$(podman logs always)" $'up\nup\nup'
    expect 'log of failure' "$(podman logs failure)" $'up\nup'
    # Who was stopped stays so.
    eventually monitors_are 0
    state_is always exited 2
    state_is unless exited 2
}

@test "restart gives a container a new monitor and keeps its log" {
    podman_run -d --name=again --log-driver=k8s-file sh -c 'echo up; exec sleep 1000'
    before=$(inspect again .State.ConmonPid)
    podman restart -t 0 again
    await_end "$before"
    [ "$(inspect again .State.ConmonPid)" != "$before" ]
    twice() { [ "$(podman logs again)" = $'up\nup' ]; }
    eventually twice
    eventually monitors_are 1
}

@test "a timer of systemd's finds a container sick and then well, and no monitor of a check stays behind" {
    podman_run -d --name=health --health-cmd='test -e /tmp/well' --health-interval=3s --health-retries=1 sleep 1000
    health_is() { [ "$(inspect health .State.Health.Status)" = "$1" ]; }
    eventually health_is unhealthy
    podman exec health touch /tmp/well
    eventually health_is healthy
    podman stop -t 0 health
    eventually monitors_are 0
}

@test "a container that fails its health check is killed when it was asked for, and its exit is recorded" {
    podman_run -d --name=doomed --health-cmd=false --health-interval=2s --health-retries=1 --health-on-failure=kill \
        sleep 1000
    eventually state_is doomed exited 0
    expect 'exit code' "$(podman wait doomed)" 137
    eventually monitors_are 0
}

@test "pause holds a container and unpause lets it go on, and its monitor stays" {
    podman_run -d --name=held --log-driver=k8s-file sh -c 'while :; do echo tick; sleep 0.2; done'
    monitor=$(inspect held .State.ConmonPid)
    podman pause held
    expect state "$(inspect held .State.Status)" paused
    ticks=$(podman logs held | wc -l)
    sleep 2
    expect 'lines while held' "$(podman logs held | wc -l)" "$ticks"
    podman unpause held
    more_ticks() { [ "$(podman logs held | wc -l)" -gt "$ticks" ]; }
    eventually more_ticks
    expect 'the monitor' "$(inspect held .State.ConmonPid)" "$monitor"
}

@test "clients that are killed take nothing with them" {
    podman_run -d --name=left --log-driver=k8s-file "--volume=$BATS_TEST_TMPDIR:/t" \
        sh -c 'trap "echo no thanks" TERM; echo before; until test -e /t/go; do sleep 0.2; done; echo after; exit 5'
    monitor=$(inspect left .State.ConmonPid)
    said_before() { [ "$(podman logs left)" = before ]; }
    eventually said_before
    for words in 'wait left' 'logs -f left' 'attach left' 'exec left sleep 1000' 'stop -t 1000 left'; do
        # shellcheck disable=SC2086 # words
        command podman $words >"$BATS_TEST_TMPDIR/shown" 2>&1 &
        client=$!
        case "$words" in
        # A stop is on its way once the container has heard of it, an exec once its monitor is there.
        stop*) eventually grep -q 'no thanks' "$(inspect left .HostConfig.LogConfig.Path)" ;;
        exec*) eventually monitors_are 2 ;;
        *) sleep 2 ;;
        esac
        kill -9 "$client"
        wait "$client" || true
        expect "the monitor after the end of podman $words" "$(inspect left .State.ConmonPid)" "$monitor"
    done
    touch "$BATS_TEST_TMPDIR/go"
    expect 'exit code' "$(podman wait left)" 5
    expect logs "$(podman logs left)" $'before\nno thanks\nafter'
    await_end "$monitor"
    # The session went with the container.
    eventually monitors_are 0
}

@test "a podman run that is killed at any moment leaves no monitor that does not end with its container" {
    started=$(date +%s%N)
    podman_run -d --name=whole sleep 1000
    took_ms=$((($(date +%s%N) - started) / 1000000))
    for n in $(seq 10); do
        command podman run -d "--name=cut$n" --network=none "$image" sleep 1000 >/dev/null 2>&1 &
        client=$!
        after_ms=$((took_ms * n / 10))
        sleep "$((after_ms / 1000)).$(printf %03d $((after_ms % 1000)))"
        kill -9 "$client" 2>/dev/null || true
        wait "$client" || true
    done
    podman exec whole true
    podman rm -f -a -t 0
    expect 'containers left' "$(podman ps -a -q)" ''
    # Podman forgets a container that was created, but not yet entered in its books when it was killed.
    # The monitor holds on to that one, as it must, until it ends.
    for monitor in $(pgrep -u "$(id -u)" -x conmon); do
        pkill -KILL -P "$monitor" || true
    done
    eventually monitors_are 0
}
