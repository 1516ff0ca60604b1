#!/usr/bin/env bats
#
# Containers that are killed for want of memory on cgroup v2: what Podman reports, and the files that
# the monitor leaves for its callers.

load support

setup_file() {
    export bundle=$BATS_FILE_TMPDIR/bundle
    mkdir -p "$bundle/rootfs"
    tar -C "$bundle/rootfs" -xf /run/busybox.tar
    (cd "$bundle" && crun spec)
}

instances=/proc/sys/fs/inotify/max_user_instances

teardown() {
    if [ -n "${instances_before:-}" ]; then
        echo "$instances_before" >"$instances"
    fi
    if [ -n "${id:-}" ]; then
        crun delete -f "$id" || true
    fi
    end_of_test
}

# Starts a container of crun and the monitor without Podman, in the manner of CRI-O, so that nobody
# takes away the files it leaves. Usage: start_direct ID CGROUP_PARENT LIMIT_BYTES SCRIPT
start_direct() {
    id=$1
    work=$BATS_TEST_TMPDIR
    mkdir -p "$work"/{exits,persist,elsewhere}
    jq --arg script "$4" --arg cgroup "$2:mote:$1" --argjson limit "$3" --arg rootfs "$bundle/rootfs" '
        .process.terminal = false
        | .root.path = $rootfs
        | .process.args = ["sh", "-c", $script]
        | .linux.cgroupsPath = $cgroup
        | .linux.resources = {memory: {limit: $limit, swap: $limit}}' \
        "$bundle/config.json" >"$work/config.json"
    # Releases up to 2.1.12 leave an oom file in the current directory instead of the bundle.
    if [ -n "$MOTE_REFERENCE" ]; then
        cd "$work"
    else
        cd "$work/elsewhere"
    fi
    conmon --api-version 1 -c "$id" -u "$id" -n "$id" -r /usr/bin/crun -b "$work" -p "$work/pidfile" \
        -P "$work/conmon.pid" --exit-dir "$work/exits" --persist-dir "$work/persist" --full-attach \
        --systemd-cgroup --syslog -l "k8s-file:$work/ctr.log" 3>&-
    created() { [ "$(crun state "$id" | jq -r .status)" = created ]; }
    eventually created
    crun start "$id"
}

# The time at which file $1 was last written, in nanoseconds.
written_at() {
    date -r "$1" +%s%N
}

@test "Podman reports OOMKilled and 137, five times out of five" {
    for n in 1 2 3 4 5; do
        run podman_run "--name=hungry$n" --memory=16m --memory-swap=16m tail /dev/zero
        expect "status of $n" "$status" 137
        expect "OOMKilled of $n" "$(inspect "hungry$n" .State.OOMKilled)" true
    done
}

@test "Podman does not report OOMKilled of containers that are stopped, killed or done (regression 64)" {
    for n in stopped killed done; do
        podman_run -d "--name=$n" --memory=16m sleep "$([ "$n" = done ] && echo 0 || echo 1000)"
    done
    podman stop -t 0 stopped
    podman kill killed
    for n in stopped killed done; do
        podman wait "$n"
        expect "OOMKilled of $n" "$(inspect "$n" .State.OOMKilled)" false
    done
}

@test "Podman reports OOMKilled of a container whose child was killed, and its own exit code (regression 63)" {
    run podman_run --name=parent --memory=16m --memory-swap=16m sh -c 'tail /dev/zero; echo "child: $?"; exit 3'
    expect status "$status" 3
    [[ "$output" == *'child: 137'* ]]
    expect OOMKilled "$(inspect parent .State.OOMKilled)" true
}

@test "an empty oom file is in the persist directory and in the bundle before the exit file is (regression 65)" {
    start_direct oom-files system.slice 16777216 'exec tail /dev/zero'
    eventually test -s "$work/exits/oom-files"
    expect 'exit file' "$(cat "$work/exits/oom-files")" 137
    for file in "$work/persist/oom" "$work/oom"; do
        expect "$file" "$(stat -c '%F %a %U' "$file")" 'regular empty file 644 root'
        [ "$(written_at "$file")" -le "$(written_at "$work/persist/exit")" ]
    done
    expect 'files in the current directory' "$(ls "$work/elsewhere")" ''
}

@test "an oom file is there at once when a child is killed and the container goes on (regressions 8 and 63)" {
    start_direct oom-child system.slice 16777216 'tail /dev/zero; sleep 1000'
    eventually test -e "$work/persist/oom"
    test -e "$work/oom"
    expect state "$(crun state oom-child | jq -r .status)" running
    # And the monitor sleeps again: it takes no more than a hundredth of a second in the next two.
    monitor=$(<"$work/conmon.pid")
    ticks() { awk '{print $14 + $15}' "/proc/$monitor/stat"; }
    before=$(ticks)
    sleep 2
    [ "$(($(ticks) - before))" -le 1 ]
    crun kill oom-child KILL
    eventually test -s "$work/exits/oom-child"
}

# A user has 128, which is less than a host may have containers.
@test "an oom file is there also when the user has no inotify instance left" {
    instances_before=$(<"$instances")
    echo 0 >"$instances"
    start_direct oom-instances system.slice 16777216 'tail /dev/zero; sleep 1000'
    eventually test -e "$work/persist/oom"
    test -e "$work/oom"
    crun kill oom-instances KILL
    eventually test -s "$work/exits/oom-instances"
}

@test "an oom file is there also when the limit was the parent cgroup's (regression 63)" {
    systemctl set-property --runtime motetest.slice MemoryMax=24M MemorySwapMax=0
    start_direct oom-slice motetest.slice 536870912 'tail /dev/zero; sleep 1000'
    eventually test -e "$work/persist/oom"
    test -e "$work/oom"
    crun kill oom-slice KILL
    eventually test -s "$work/exits/oom-slice"
}

@test "no oom file is made for a container that is killed by hand (regression 64)" {
    start_direct no-oom system.slice 16777216 'sleep 1000'
    crun kill no-oom KILL
    eventually test -s "$work/exits/no-oom"
    await_end "$(<"$work/conmon.pid")"
    expect 'exit file' "$(cat "$work/exits/no-oom")" 137
    [ ! -e "$work/persist/oom" ]
    [ ! -e "$work/oom" ]
}

@test "hierarchies of cgroup v1 before the line of v2 do not hide lack of memory, and nothing is said (regression 40)" {
    v1=/run/mote-v1
    mkdir -p "$v1"
    mount -t cgroup -o net_cls none "$v1" || mount -t cgroup -o none,name=motetest none "$v1"
    [[ "$(head -n 1 /proc/self/cgroup)" == 1:*:/ ]]
    start_direct oom-among-v1 system.slice 16777216 'exec tail /dev/zero'
    eventually test -s "$work/exits/oom-among-v1"
    await_end "$(<"$work/conmon.pid")"
    umount "$v1"
    expect 'exit file' "$(cat "$work/exits/oom-among-v1")" 137
    test -e "$work/persist/oom"
    test -e "$work/oom"
    expect 'what was said' "$(journalctl --no-pager -o cat -t conmon | grep 'conmon oom-among-v1 ' | grep -v '<ninfo>')" ''
}

# Makes a runtime that only starts the shell command in COMMAND, in the group that GROUP names.
make_runtime() {
    cat >"$1" <<'RUNTIME'
#!/bin/sh
while [ $# -gt 0 ]; do
    [ "$1" != --pid-file ] || pidfile=$2
    shift
done
echo $$ >"$GROUP/cgroup.procs"
setsid sh -c "$COMMAND" &
printf %s $! >"$pidfile"
RUNTIME
    chmod +x "$1"
}

# Reads a file that is larger than the limit over and over, which is what a database may do: the limit
# is reached thousands of times a second, and nothing is killed.
@test "a container that lives at its limit wakes the monitor a few times a second" {
    local big=/var/tmp/mote-big group=/sys/fs/cgroup/mote-limit wakes hits
    work=$BATS_TEST_TMPDIR
    make_runtime "$work/runtime"
    mkdir "$work/exits" "$work/persist" "$group"
    head -c 96M /dev/zero >"$big"
    sync
    echo 3 >/proc/sys/vm/drop_caches # who reads it is charged for it
    echo 24M >"$group/memory.max"
    COMMAND="while :; do cat $big >/dev/null; done" GROUP=$group conmon --api-version 1 -c limit -u limit \
        -n limit -r "$work/runtime" -b "$work" -p "$work/pidfile" -P "$work/conmon.pid" \
        --exit-dir "$work/exits" --persist-dir "$work/persist" --full-attach -l none 3>&-
    sleep 3
    wakes=$(wakes_of "$(<"$work/conmon.pid")") hits=$(limit_hits "$group")
    sleep 10
    wakes=$(($(wakes_of "$(<"$work/conmon.pid")") - wakes)) hits=$(($(limit_hits "$group") - hits))
    echo "# in 10 s: limit reached $hits times, wakes: $wakes" >&3
    [ ! -e "$work/persist/oom" ]
    echo 1 >"$group/cgroup.kill"
    eventually test -e "$work/exits/limit"
    eventually rmdir "$group"
    rm "$big"
    [ "$hits" -gt 500 ]
    [ "$wakes" -le 120 ]
}

wakes_of() {
    awk '$1 == "voluntary_ctxt_switches:" { print $2 }' "/proc/$1/status"
}

limit_hits() {
    awk '$1 == "max" { print $2 }' "$1/memory.events"
}

# The kernel of cgroup v2 tells nothing of a group that has gone, so whoever removes it in the same moment
# can win. It must stay the exception; the guest's own conmon takes turns with ours, to be compared with.
@test "most containers whose cgroup is removed in the moment of the kill leave their oom files (regression 63)" {
    work=$BATS_TEST_TMPDIR
    make_runtime "$work/runtime"
    cat >"$work/race.py" <<'RACE'
import ctypes, os, subprocess, sys, time
work, runs = sys.argv[1], int(sys.argv[2])
ours, reference = "/usr/bin/conmon", "/vm/reference/conmon"
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # the reaper of monitors


def watches(monitor):
    """Whether the monitor holds memory.events open, or an inotify instance with a watch."""
    try:
        for fd in os.listdir(f"/proc/{monitor}/fd"):
            if "memory.events" in os.readlink(f"/proc/{monitor}/fd/{fd}"):
                return True
            if "inotify wd:" in open(f"/proc/{monitor}/fdinfo/{fd}").read():
                return True
    except FileNotFoundError:
        pass  # closed meanwhile
    return False


def misses(conmon, name):
    """One container that is killed and whose group is removed: whether an oom file is missing."""
    bundle, group = f"{work}/{name}", f"/sys/fs/cgroup/mote-race-{name}"
    for directory in ("exits", "persist"):
        os.makedirs(f"{bundle}/{directory}")
    os.mkfifo(f"{bundle}/gate")
    os.mkdir(group)
    for file, value in (("memory.max", "8M"), ("memory.swap.max", "0")):
        if os.path.exists(f"{group}/{file}"):
            open(f"{group}/{file}", "w").write(value)
    # Releases up to 2.1.12 leave an oom file in the current directory instead of the bundle.
    subprocess.run(
        [conmon, "--api-version", "1", "-c", name, "-u", name, "-n", "race", "-r",
         f"{work}/runtime", "-b", bundle, "-p", f"{bundle}/pidfile", "-P", f"{bundle}/conmon.pid",
         "--exit-dir", f"{bundle}/exits", "--persist-dir", f"{bundle}/persist", "--full-attach",
         "-l", f"k8s-file:{bundle}/log"],
        env={**os.environ, "GROUP": group, "COMMAND": f": <{bundle}/gate; exec tail /dev/zero"}, check=True,
        stdin=subprocess.DEVNULL, cwd=bundle)
    monitor = int(open(f"{bundle}/conmon.pid").read())
    while not watches(monitor):
        time.sleep(0.01)
    open(f"{bundle}/gate", "w").close()
    while True:
        try:
            os.rmdir(group)
            break
        except OSError:
            pass
    os.waitpid(monitor, 0)
    assert open(f"{bundle}/exits/{name}").read() == "137"
    return not (os.path.exists(f"{bundle}/persist/oom") and os.path.exists(f"{bundle}/oom"))


missed = {ours: 0, reference: 0}
for n in range(runs):
    missed[ours] += misses(ours, f"ours{n}")
    missed[reference] += misses(reference, f"reference{n}")
print(f"{missed[ours]} of {runs} missed; Debian's conmon: {missed[reference]}")
sys.exit(missed[ours] > runs / 2)
RACE
    run python3 "$work/race.py" "$work" 100
    echo "# $output" >&3
    expect status "$status" 0
}
