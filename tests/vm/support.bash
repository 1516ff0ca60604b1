# What the tests in the virtual machine share. See tests/vm/guest for the machine they find: the image
# localhost/busybox, and the program under test installed as /usr/bin/conmon.
#
# The machine may be emulated, with one instruction for some twenty of its own: `podman run` takes
# seconds. Nothing here is measured, and every wait is for an event, with a long deadline.

bats_require_minimum_version 1.5.0

# The longest that any one command of these tests may take, in seconds.
deadline_s=300

image=localhost/busybox

# Podman, which never hangs a test: it is killed at the deadline, with status 124 or 137.
podman() {
    timeout -k 5 "$deadline_s" podman "$@"
}

# `podman run` with what every container of these tests needs. Options (a value after `=`) and the
# command follow.
podman_run() {
    local options=()
    while [ $# -gt 0 ] && [[ "$1" == -* ]]; do
        options+=("$1")
        shift
    done
    podman run --network=none "${options[@]}" "$image" "$@"
}

# Runs `podman WORDS...` on a terminal, see tests/real/on_terminal.py.
# Usage: on_terminal ROWS COLUMNS STEP... -- WORDS...
on_terminal() {
    local before=()
    while [ "$1" != -- ]; do
        before+=("$1")
        shift
    done
    shift
    timeout -k 5 "$deadline_s" "$BATS_TEST_DIRNAME/../real/on_terminal.py" "${before[@]}" -- \
        podman "$@"
}

# Waits until the command given succeeds; fails when it still does not at the deadline.
eventually() {
    local end=$((SECONDS + deadline_s / 2))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "never came true: $*" >&2
            return 1
        fi
        # Not in a hurry: asking costs as much as what is waited for.
        sleep 0.5
    done
}

# Gives the word to whoever reads a line from fifo $1.
tell() {
    timeout "$deadline_s" sh -c 'echo go >"$1"' tell "$1"
}

# Reports a failed expectation. Usage: expect WHAT GOT WANTED
expect() {
    if [ "$2" != "$3" ]; then
        printf '%s: got [%s], wanted [%s]\n' "$1" "$2" "$3" >&2
        return 1
    fi
}

# Prints field $2 (a Go template's) of container $1.
inspect() {
    podman inspect --format "{{$2}}" "$1"
}

# Waits for process $1, which need not be our child, to end.
await_end() {
    timeout "$deadline_s" tail --pid="$1" -f /dev/null
}

# Succeeds when there are $1 monitors, also those that are about to end.
monitors_are() {
    local count
    count=$(pgrep -c -u "$(id -u)" -x conmon)
    [ "$count" -eq "$1" ]
}

# What every file does after each of its tests: removes the containers, and sees that no monitor
# stays behind. After a failure it shows what the monitors had to say.
end_of_test() {
    tell_of_failure
    podman rm -f -a -t 0 >/dev/null
    eventually monitors_are 0
}

# After a failure, shows what there is to learn from.
tell_of_failure() {
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        echo "status ${status:-}, output: ${output:-}"
        journalctl --no-pager -t conmon -t podman -p warning -n 20 -o short-precise || true
        podman ps -a || true
        pgrep -a -x conmon || true
    fi
}
