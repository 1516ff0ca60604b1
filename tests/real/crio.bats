#!/usr/bin/env bats
#
# The monitor under a stand-in for CRI-O with a real runc. The stand-in is crio.py, and what is asked of
# the monitor is in crio_cases.py. That the stand-in asks for nothing that CRI-O does not get today is
# shown by the last test: all cases hold for Debian's conmon as well.

load support

setup_file() {
    require_root
    export rootfs=$BATS_FILE_TMPDIR/rootfs
    make_rootfs "$rootfs"
}

# Runs cases of crio_cases.py with monitor $1.
hold() {
    timeout -k 5 "$((deadline_s * 4))" python3 "$BATS_TEST_DIRNAME/crio_cases.py" "$1" "$rootfs" "${@:2}" 3>&-
}

@test "CRI-O: the version is strict, and high enough for what CRI-O does with it" {
    hold "$MOTE_CONMON" version
}

@test "CRI-O: create, start and exit give CRI-O its pids, its log, its attach link and its exit files" {
    hold "$MOTE_CONMON" life
}

@test "CRI-O: nothing is started before CRI-O has moved the monitor to its cgroup" {
    hold "$MOTE_CONMON" start_pipe
}

@test "CRI-O: a container without its command fails with the runtime's words, also with a terminal" {
    hold "$MOTE_CONMON" no_command
}

@test "CRI-O: a log that cannot be opened is told on stderr before anything runs" {
    hold "$MOTE_CONMON" log_cannot_be_made
}

@test "CRI-O: ExecSync has the status and both streams, into a pid file that CRI-O has made" {
    hold "$MOTE_CONMON" exec_status
}

@test "CRI-O: thirty quick ExecSyncs in a row tell their output and their status (regression 10)" {
    hold "$MOTE_CONMON" exec_often
}

@test "CRI-O: ExecSync of a missing command fails with the runtime's words" {
    hold "$MOTE_CONMON" exec_no_command
}

@test "CRI-O: an ExecSync that takes too long is killed with its children, as a timeout (regression 25)" {
    hold "$MOTE_CONMON" exec_timeout
}

@test "CRI-O: ExecSync with a terminal has one stream" {
    hold "$MOTE_CONMON" exec_terminal
}

@test "CRI-O: of the output of an ExecSync CRI-O gets 16 MiB, and the command can end" {
    hold "$MOTE_CONMON" exec_output_limit
}

@test "CRI-O: clients attach one after another, and what they send is the container's input" {
    hold "$MOTE_CONMON" attach
}

@test "CRI-O: with stdinOnce the end of the client's input is the end of the container's" {
    hold "$MOTE_CONMON" attach_once
}

@test "CRI-O: a size given before the start is the terminal's first, and may change (regression 69)" {
    hold "$MOTE_CONMON" resize
}

@test "CRI-O: a renamed log is reopened when CRI-O says so, which sees the new one appear (regression 49)" {
    hold "$MOTE_CONMON" reopen
}

@test "CRI-O: the log keeps to its limit and has the newest lines" {
    hold "$MOTE_CONMON" log_size
}

@test "CRI-O: SIGPIPE, with which systemd stops the monitor's scope, does nothing (regression 72)" {
    hold "$MOTE_CONMON" scope_stop
}

@test "CRI-O: a killed container has 128 and the signal as its code (regression 17)" {
    hold "$MOTE_CONMON" kill
}

@test "CRI-O: the oom file is in the bundle before the exit is told" {
    hold "$MOTE_CONMON" oom
}

@test "CRI-O: what a container leaves in the node's pid namespace does not hold the monitor up (regression 20)" {
    hold "$MOTE_CONMON" leftovers
}

@test "every case of the stand-in has a test" {
    local name missing=()
    for name in $(python3 "$BATS_TEST_DIRNAME/crio_cases.py" --list); do
        grep -q "^    hold \"\$MOTE_CONMON\" $name\$" "$BATS_TEST_FILENAME" || missing+=("$name")
    done
    expect 'cases without a test' "${missing[*]}" ''
}

@test "every case of the stand-in holds for Debian's conmon too" {
    if [ ! -x /usr/bin/conmon ]; then
        skip "Debian's conmon is not installed"
    fi
    local names
    mapfile -t names < <(python3 "$BATS_TEST_DIRNAME/crio_cases.py" --list)
    hold /usr/bin/conmon "${names[@]}"
}
