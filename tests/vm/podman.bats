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
