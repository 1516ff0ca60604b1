#!/usr/bin/env bats
#
# Quadlet's units and Kubernetes' pods, for root and for an ordinary user with a systemd of his own alike
# (tests/vm/guest runs this file as both). See systemd.bats for more of units.

load support

setup() {
    if [ "$(id -u)" -eq 0 ]; then
        units=/etc/containers/systemd
    else
        units=$HOME/.config/containers/systemd
    fi
    mkdir -p "$units"
}

teardown() {
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        manager status --no-pager -n 20 -l mote.service || true
    fi
    manager stop mote.service || true
    manager reset-failed mote.service 2>/dev/null || true
    rm -f "$units"/mote.*
    manager daemon-reload
    podman kube down "$BATS_TEST_TMPDIR/pod.yaml" 2>/dev/null || true
    podman pod rm -f -a -t 0 >/dev/null
    end_of_test
}

# The systemd of the one who runs this.
manager() {
    if [ "$(id -u)" -eq 0 ]; then
        systemctl "$@"
    else
        systemctl --user "$@"
    fi
}

# Property $1 of mote.service.
property() {
    manager show -P "$1" mote.service
}

# Succeeds when the unit has come to state $1 (active, inactive, failed).
unit_is() {
    [ "$(property ActiveState)" = "$1" ]
}

# The cgroup of process $1, of cgroup v2.
cgroup_of() {
    sed -n 's/^0:://p' "/proc/$1/cgroup"
}

# Checks that the unit's main process is the monitor of container $1, and lives in cgroup `runtime` of
# the unit while the container lives beside it.
main_is_monitor_of() {
    local monitor
    monitor=$(property MainPID)
    expect 'name of the main process' "$(<"/proc/$monitor/comm")" conmon
    expect 'program of the main process' "$(readlink "/proc/$monitor/exe")" /usr/bin/conmon
    expect 'the main process' "$monitor" "$(inspect "$1" .State.ConmonPid)"
    expect 'cgroup of the monitor' "$(cgroup_of "$monitor")" "$(property ControlGroup)/runtime"
    [[ "$(cgroup_of "$(inspect "$1" .State.Pid)")" == "$(property ControlGroup)/libpod-payload-"* ]]
}

# Makes a unit of mote.container, from the lines on stdin behind the usual ones.
make_container_unit() {
    {
        printf '[Container]\nImage=%s\nContainerName=mote\nNetwork=none\nLogDriver=k8s-file\n' "$image"
        cat
        printf '[Service]\nTimeoutStartSec=%s\n' "$deadline_s"
    } >"$units/mote.container"
    manager daemon-reload
}

# Writes a pod of two containers, which say that they are up, into pod.yaml. Lines of the first one are
# on stdin.
make_pod() {
    cat >"$BATS_TEST_TMPDIR/pod.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: motepod
spec:
  restartPolicy: ${1:-Never}
  containers:
    - name: one
      image: $image
$(cat)
    - name: two
      image: $image
      command: [sh, -c, 'echo two is up; exec sleep 1000']
YAML
}

# Succeeds when the log of container $1 is line $2.
log_is() {
    [ "$(podman logs "$1")" = "$2" ]
}

@test "with cgroups=split a unit whose monitor is the one that is ready ends as its container does" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    make_container_unit <<UNIT
Volume=$BATS_TEST_TMPDIR:/t
Exec=sh -c "read number </t/go; exit \$\$number"
UNIT
    manager start mote.service
    unit_is active
    main_is_monitor_of mote
    run --separate-stderr podman exec mote sh -c 'echo out; echo err >&2; exit 3'
    expect exec "$status $output $stderr" '3 out err'
    timeout "$deadline_s" sh -c 'echo 6 >"$1"' tell "$BATS_TEST_TMPDIR/go"
    eventually unit_is failed
    expect result "$(property Result) $(property ExecMainStatus)" 'exit-code 6'
    eventually monitors_are 0
}

@test "with cgroups=split a unit whose container is the one that is ready waits for its word" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    make_container_unit <<UNIT
Notify=yes
Volume=$BATS_TEST_TMPDIR:/t
Volume=/usr:/usr:ro
Volume=/usr/lib:/lib:ro
Volume=/usr/lib64:/lib64:ro
Exec=sh -c "read word </t/go; /usr/bin/systemd-notify --ready --status=from-the-container; exec sleep 1000"
UNIT
    manager start --no-block mote.service
    eventually monitors_are 1
    unit_is activating
    tell "$BATS_TEST_TMPDIR/go"
    eventually unit_is active
    main_is_monitor_of mote
    expect 'status text' "$(property StatusText)" from-the-container
}

@test "a unit is started again when its monitor is killed, and the container that lost it is gone" {
    make_container_unit <<UNIT
Exec=sleep 1000
[Service]
Restart=always
RestartSec=0
UNIT
    manager start mote.service
    before=$(property MainPID)
    kill -9 "$before"
    came_again() { [ "$(property NRestarts)" = 1 ] && unit_is active; }
    eventually came_again
    main_is_monitor_of mote
    [ "$(property MainPID)" != "$before" ]
    expect containers "$(podman ps -a --format '{{.Names}} {{.State}}')" 'mote running'
    monitors_are 1
}

@test "kube play with a pause image of one's own gives the pod a network and each container a monitor" {
    # The pause image is made here, as nothing can be fetched: the program that Debian has for it.
    mkdir -p "$BATS_TEST_TMPDIR/pause"
    cp /usr/bin/catatonit "$BATS_TEST_TMPDIR/pause/catatonit"
    tar -C "$BATS_TEST_TMPDIR/pause" -c catatonit |
        podman import --quiet --change 'ENTRYPOINT ["/catatonit", "-P"]' - localhost/pause
    make_pod <<'YAML'
      command: [sh, -c, 'echo one is up; exec nc -l -p 7 -e echo hello']
YAML
    sed -i 's|^  name: motepod|&\n  annotations:\n    io.podman.annotations.infra.name: infra|' "$BATS_TEST_TMPDIR/pod.yaml"
    printf '[engine]\ninfra_image = "localhost/pause"\n' >"$BATS_TEST_TMPDIR/engine.conf"
    CONTAINERS_CONF_OVERRIDE=$BATS_TEST_TMPDIR/engine.conf \
        podman kube play --log-driver=k8s-file --network=none "$BATS_TEST_TMPDIR/pod.yaml"
    expect 'image of the infra container' "$(inspect infra .ImageName)" localhost/pause:latest
    eventually monitors_are 3
    eventually log_is motepod-one 'one is up'
    eventually log_is motepod-two 'two is up'
    # They share their network: the second one talks to the first one.
    expect 'said by one' "$(podman exec motepod-two nc 127.0.0.1 7)" hello
    podman kube down "$BATS_TEST_TMPDIR/pod.yaml"
    eventually monitors_are 0
    podman rmi -f localhost/pause
}

@test "kube play starts a container of restartPolicy Always again, and finds out by a probe that it is sick" {
    make_pod Always <<'YAML'
      command: [sh, -c, 'trap "exit 0" TERM; echo one is up; sleep 1000 & wait']
      livenessProbe:
        exec:
          command: [sh, -c, 'test ! -e /sick']
        periodSeconds: 5
        timeoutSeconds: 100
        failureThreshold: 1
YAML
    podman kube play --log-driver=k8s-file --network=host "$BATS_TEST_TMPDIR/pod.yaml"
    eventually log_is motepod-one 'one is up'
    eventually podman exec motepod-one touch /sick
    restarted() { [ "$(inspect motepod-one .RestartCount)" -ge 1 ]; }
    eventually restarted
    podman kube down "$BATS_TEST_TMPDIR/pod.yaml"
    eventually monitors_are 0
}

@test "a unit of a pod has its service container's monitor as the main process, and ends with the pod" {
    make_pod <<'YAML'
      command: [sh, -c, 'echo one is up; exec sleep 1000']
YAML
    printf '[Kube]\nYaml=%s\nNetwork=none\nLogDriver=k8s-file\n[Service]\nTimeoutStartSec=%s\n' \
        "$BATS_TEST_TMPDIR/pod.yaml" "$deadline_s" >"$units/mote.kube"
    manager daemon-reload
    manager start mote.service
    unit_is active
    monitor=$(property MainPID)
    expect 'name of the main process' "$(<"/proc/$monitor/comm")" conmon
    expect 'its container' "$(podman ps --format '{{.Names}}' --filter "id=$(tr '\0' '\n' <"/proc/$monitor/cmdline" | sed -n '/^-c$/{n;p}')" | grep -c -e -service)" 1
    eventually log_is motepod-one 'one is up'
    podman stop -t 0 motepod-one motepod-two
    eventually unit_is inactive
    expect result "$(property Result)" success
    eventually monitors_are 0
}
