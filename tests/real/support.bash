# What the real tests share: a root file system made from busybox, a private Podman, OCI bundles
# for a runtime used directly, and waiting with a deadline.
#
# The monitor under test is the program that MOTE_CONMON names. It must be called `conmon`, since
# Podman looks at the name. Everything lives in the temporary directories that bats makes and
# removes; no state of the machine's own Podman is read or written.

bats_require_minimum_version 1.5.0

# The longest that any one command of these tests may take, in seconds.
deadline_s=60

# Skips the whole file where the machine cannot run containers at all: these tests need root.
require_root() {
    if [ "$(id -u)" -ne 0 ]; then
        skip "containers need root here"
    fi
    if [ ! -x "${MOTE_CONMON:?names the monitor to test}" ]; then
        echo "MOTE_CONMON is not a program: $MOTE_CONMON" >&2
        return 1
    fi
}

# Makes a root file system of busybox and its applets in directory $1.
make_rootfs() {
    local rootfs=$1
    mkdir -p "$rootfs"/{bin,dev,etc,proc,run,sys,tmp,var}
    cp "$(command -v busybox)" "$rootfs/bin/busybox"
    "$rootfs/bin/busybox" --install -s "$rootfs/bin"
    # --install makes absolute links to the name that it was called by.
    local applet
    for applet in "$rootfs"/bin/*; do
        if [ -L "$applet" ]; then
            ln -sf busybox "$applet"
        fi
    done
    printf 'root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n' >"$rootfs/etc/passwd"
}

# Waits until the command given succeeds; fails when it still does not at the deadline.
eventually() {
    local end=$((SECONDS + deadline_s / 2))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "never came true: $*" >&2
            return 1
        fi
        sleep 0.02
    done
}

# Succeeds when no process has $1 in its command line. Reads /proc itself: pgrep would find its own
# caller. The shells and the timeouts of the test itself do not count.
no_process_mentions() {
    local cmdline words
    for cmdline in /proc/[0-9]*/cmdline; do
        { mapfile -d '' -t words <"$cmdline"; } 2>/dev/null || continue
        case "${words[0]##*/}" in
        conmon | runc | crun | podman) ;;
        *) continue ;;
        esac
        if [[ "${words[*]}" == *"$1"* ]]; then
            echo "still there: ${words[*]}" >&2
            return 1
        fi
    done
}

# Reports a failed expectation. Usage: expect WHAT GOT WANTED
expect() {
    if [ "$2" != "$3" ]; then
        printf '%s: got [%s], wanted [%s]\n' "$1" "$2" "$3" >&2
        return 1
    fi
}

# ------------------------------------------------------------------------------- Podman

# Makes a private Podman under directory $1 that uses the monitor under test and runtime $2.
make_podman() {
    podman_home=$1
    local files processes
    files=$(ulimit -Hn)
    processes=$(ulimit -Hu)
    # Podman asks for limits of its own by default, which fail where the shell's are lower.
    if [ "$files" = unlimited ] || [ "$files" -gt 4096 ]; then
        files=4096
    fi
    if [ "$processes" = unlimited ] || [ "$processes" -gt 4096 ]; then
        processes=4096
    fi
    mkdir -p "$podman_home"
    cat >"$podman_home/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=$files:$files", "nproc=$processes:$processes"]
log_driver = "k8s-file"
[engine]
conmon_path = ["$MOTE_CONMON"]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$2"
CONF
    export CONTAINERS_CONF=$podman_home/containers.conf
    export podman_home
}

# The private Podman. Never hangs a test: it is killed at the deadline, with status 124 or 137.
podman() {
    # --conmon makes Podman complain of a monitor that it cannot use; of those in conmon_path, which
    # its cleanup command goes by, it would silently pass over to the machine's own.
    timeout -k 5 "$deadline_s" podman --conmon "$MOTE_CONMON" --root "$podman_home/root" --runroot "$podman_home/run" \
        --tmpdir "$podman_home/tmp" --storage-driver overlay "$@"
}

# `podman run` with what every container of these tests needs. Options (a value after `=`) and the
# command follow; the root file system is shared, and its applets are the commands.
podman_run() {
    local options=()
    while [ $# -gt 0 ] && [[ "$1" == -* ]]; do
        options+=("$1")
        shift
    done
    podman run --network none "${options[@]}" --rootfs "$rootfs" "$@"
}

# Removes every container, and fails when anything of the private Podman is left afterwards.
remove_podman() {
    podman rm -f -a -t 0 >/dev/null
    eventually no_process_mentions "$podman_home"
    no_process_mentions "$podman_home"
    local exits
    exits=$(ls "$podman_home/tmp/exits" 2>/dev/null || true)
    expect 'exit files that nobody took' "$exits" ''
    # Unmounts what Podman mounted below its roots, so that bats can remove the directory.
    local mounted
    while read -r mounted; do
        umount -l "$mounted"
    done < <(awk -v home="$podman_home/" 'index($5, home) == 1 {print $5}' /proc/self/mountinfo | tac)
}

# Prints field $2 (a Go template's) of container $1.
inspect() {
    podman inspect --format "{{$2}}" "$1"
}

# ------------------------------------------------------------------------------- a bundle

# Makes an OCI bundle in directory $1 whose process is the shell script $2.
make_bundle() {
    local bundle=$1 script=$2
    mkdir -p "$bundle"
    (cd "$bundle" && runc spec)
    jq --arg rootfs "$rootfs" --arg script "$script" --arg cgroup "/mote-test-${bundle##*/}-$$" '
        .process.terminal = false
        | .process.args = ["/bin/sh", "-c", $script]
        | .process.env = ["PATH=/bin"]
        | .root = {path: $rootfs, readonly: true}
        | .hostname = "mote"
        | .linux.cgroupsPath = $cgroup' \
        "$bundle/config.json" >"$bundle/config.json.new"
    mv "$bundle/config.json.new" "$bundle/config.json"
}

# Starts the monitor for bundle $1 with runtime $2; further arguments are added to its own. Sets
# `sync_line` to the first message of the sync pipe and `monitor_status` to what the first process
# ended with. The words of the array `around` go before the monitor's command line.
start_monitor() {
    bundle=$1
    local runtime=$2
    id=${bundle##*/}
    shift 2
    mkdir -p "$bundle"/{exits,persist,state}
    rm -f "$bundle/sync"
    mkfifo "$bundle/sync"
    # Open for reading and writing, so that neither end waits for the other; bats' own fd 3 is
    # closed, or the monitor would keep it open as it must keep every descriptor it is given.
    exec 8<>"$bundle/sync"
    monitor_status=0
    _OCI_SYNCPIPE=8 timeout -k 5 "$deadline_s" "${around[@]}" "$MOTE_CONMON" --api-version 1 \
        -c "$id" -u "$id" -n "$id" -r "$(command -v "$runtime")" -b "$bundle" \
        -p "$bundle/pidfile" -P "$bundle/conmon.pid" --exit-dir "$bundle/exits" \
        --persist-dir "$bundle/persist" --full-attach -l "k8s-file:$bundle/ctr.log" \
        --runtime-arg "--root=$bundle/state" "$@" \
        </dev/null >"$bundle/stdout" 2>"$bundle/stderr" 3>&- || monitor_status=$?
    sync_line=
    read -r -t "$((deadline_s / 2))" -u 8 sync_line || true
    exec 8>&-
    echo "told: $sync_line"
    cat "$bundle/stderr"
}

# Runs the container that start_monitor created. Usage: start_container RUNTIME
start_container() {
    timeout -k 5 "$deadline_s" "${around[@]}" "$1" --root="$bundle/state" start "$id" 3>&-
}

# Deletes the container of the last bundle, whatever state it is in.
delete_container() {
    timeout -k 5 "$deadline_s" "${around[@]}" "$1" --root="$bundle/state" delete --force "$id" 3>&- || true
}

# Waits for process $1, which need not be our child, to end.
await_end() {
    timeout "$deadline_s" tail --pid="$1" -f /dev/null
}

# The text of the records of stream $2 in the k8s-file log $1, stamps and tags cut off and the parts
# of a line joined.
recorded() {
    awk -v stream="$2" '
        $2 == stream {
            printf "%s%s", substr($0, index($0, " " stream " ") + length(stream) + 4), $3 == "F" ? "\n" : ""
        }' "$1"
}
