#!/usr/bin/env bats
#
# Containers as systemd's services: who is the main process, what the unit's state says, where the
# processes live, and Quadlet's units. The services' log driver is k8s-file; see journal.bats.

load support

teardown() {
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        systemctl status --no-pager -n 20 -l mote.service || true
    fi
    systemctl stop mote.service || true
    systemctl reset-failed mote.service 2>/dev/null || true
    rm -f /run/systemd/system/mote.service /etc/containers/systemd/mote.container
    systemctl daemon-reload
    end_of_test
}

# What every container of these services is run with.
common='--name=mote --replace --rm -d --network=none --log-driver=k8s-file'

# Makes mote.service from the [Service] lines on stdin. Usage: make_unit <<'UNIT'
make_unit() {
    {
        printf '[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=%s\n' "$deadline_s"
        cat
    } >/run/systemd/system/mote.service
    systemctl daemon-reload
}

# Property $1 of mote.service.
property() {
    systemctl show -P "$1" mote.service
}

# Succeeds when the unit has come to state $1 (active, inactive, failed).
unit_is() {
    [ "$(property ActiveState)" = "$1" ]
}

# Checks that the unit's main process is the monitor under test, and sets `monitor` to it.
main_is_monitor() {
    monitor=$(property MainPID)
    expect 'name of the main process' "$(<"/proc/$monitor/comm")" conmon
    expect 'program of the main process' "$(readlink "/proc/$monitor/exe")" /usr/bin/conmon
}

@test "with --sdnotify=conmon the main process is the monitor, and the unit ends as the container does" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    make_unit <<UNIT
ExecStart=/usr/bin/podman run $common --sdnotify=conmon --cgroups=no-conmon -v $BATS_TEST_TMPDIR:/t $image sh -c "read word </t/go; exit 3"
UNIT
    systemctl start mote.service
    unit_is active
    main_is_monitor
    expect 'cgroup of the monitor' "$(<"/proc/$monitor/cgroup")" 0::/system.slice/mote.service
    tell "$BATS_TEST_TMPDIR/go"
    eventually unit_is failed
    expect 'result' "$(property Result) $(property ExecMainStatus)" 'exit-code 3'
}

@test "a service that is stopped has its TERM handed on to the container by the monitor" {
    make_unit <<UNIT
KillMode=mixed
TimeoutStopSec=$deadline_s
ExecStart=/usr/bin/podman run $common --sdnotify=conmon --cgroups=no-conmon -v $BATS_TEST_TMPDIR:/t $image sh -c "trap 'echo bye >/t/said; exit 0' TERM; echo up >/t/up; sleep 1000 & wait"
UNIT
    systemctl start mote.service
    eventually test -e "$BATS_TEST_TMPDIR/up"
    systemctl stop mote.service
    expect said "$(cat "$BATS_TEST_TMPDIR/said")" bye
    expect result "$(property Result)" success
}

@test "with --sdnotify=container and --cgroups=split the container's own messages arrive (regression 66)" {
    # Busybox knows nothing of systemd: the container gets the machine's own programs.
    make_unit <<UNIT
Delegate=yes
KillMode=mixed
ExecStart=/usr/bin/podman run $common --sdnotify=container --cgroups=split -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro $image sh -c "/usr/bin/systemd-notify --ready --status=from-the-container; exec sleep 1000"
ExecStopPost=-/usr/bin/podman rm -f -t 0 mote
UNIT
    systemctl start mote.service
    unit_is active
    main_is_monitor
    expect 'status text' "$(property StatusText)" from-the-container
    expect 'cgroup of the monitor' "$(<"/proc/$monitor/cgroup")" 0::/system.slice/mote.service/runtime
    [[ "$(<"/proc/$(inspect mote .State.Pid)/cgroup")" == 0::/system.slice/mote.service/libpod-payload-* ]]
}

@test "with --sdnotify=container a container that ends before it is ready fails the unit" {
    make_unit <<UNIT
ExecStart=/usr/bin/podman run $common --sdnotify=container --cgroups=no-conmon $image true
UNIT
    run systemctl start mote.service
    [ "$status" -ne 0 ]
    expect result "$(property Result)" protocol
}

# Makes a Quadlet unit, mote.container, from the lines on stdin behind the usual ones.
make_quadlet() {
    mkdir -p /etc/containers/systemd
    {
        printf '[Container]\nImage=%s\nContainerName=mote\nNetwork=none\nLogDriver=k8s-file\n' "$image"
        cat
        printf '[Service]\nTimeoutStartSec=%s\nRestart=on-failure\nRestartSec=0\n' "$deadline_s"
    } >/etc/containers/systemd/mote.container
    systemctl daemon-reload
}

@test "a Quadlet unit has the monitor as its main process, restarts with it, and stops cleanly" {
    make_quadlet <<UNIT
Volume=$BATS_TEST_TMPDIR:/t
Exec=sh -c "trap 'echo bye >/t/said; exit 0' TERM; echo up >>/t/up; sleep 1000 & wait"
UNIT
    systemctl start mote.service
    unit_is active
    main_is_monitor
    expect 'cgroup of the monitor' "$(<"/proc/$monitor/cgroup")" 0::/system.slice/mote.service/runtime
    [[ "$(<"/proc/$(inspect mote .State.Pid)/cgroup")" == 0::/system.slice/mote.service/libpod-payload-* ]]
    podman exec mote true

    before=$monitor
    podman kill mote
    came_again() { [ "$(property NRestarts)" = 1 ] && unit_is active; }
    eventually came_again
    main_is_monitor
    [ "$monitor" != "$before" ]
    ran_twice() { [ "$(cat "$BATS_TEST_TMPDIR/up")" = $'up\nup' ]; }
    eventually ran_twice

    systemctl stop mote.service
    expect said "$(cat "$BATS_TEST_TMPDIR/said")" bye
    expect state "$(property ActiveState) $(property Result)" 'inactive success'
    eventually monitors_are 0
}

@test "a Quadlet unit with Notify=yes is active when its container says so" {
    make_quadlet <<UNIT
Notify=yes
Volume=/usr:/usr:ro
Volume=/usr/lib:/lib:ro
Volume=/usr/lib64:/lib64:ro
Exec=sh -c "/usr/bin/systemd-notify --ready --status=from-the-container; exec sleep 1000"
UNIT
    systemctl start mote.service
    unit_is active
    main_is_monitor
    expect 'status text' "$(property StatusText)" from-the-container
}

@test "kube play runs what a pod's description says, and down ends it" {
    cat >"$BATS_TEST_TMPDIR/pod.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: motepod
spec:
  hostNetwork: true
  containers:
    - name: one
      image: $image
      command: [sh, -c, 'echo one is up; exec sleep 1000']
    - name: two
      image: $image
      command: [sh, -c, 'echo two is up; exec sleep 1000']
YAML
    podman kube play --log-driver=k8s-file "$BATS_TEST_TMPDIR/pod.yaml"
    for n in one two; do
        said() { [ "$(podman logs "motepod-$n")" = "$n is up" ]; }
        eventually said
    done
    podman exec motepod-two true
    podman kube down "$BATS_TEST_TMPDIR/pod.yaml"
    eventually monitors_are 0
}
