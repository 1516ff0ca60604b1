#!/usr/bin/env bats
#
# The journald driver with a real journal, which is Podman's default on such a machine: what is in the
# entries, and what `podman logs` makes of them.

load support

teardown() {
    end_of_test
}

# The journal's entries of container $1 in order, as JSON, one a line; those that Podman itself writes
# of the container's life are left out.
entries() {
    journalctl --no-pager -o json "CONTAINER_ID_FULL=$(inspect "$1" .Id)"
}

@test "logs gives both streams where they belong, also a line without an end" {
    podman_run -d --name=streams --log-driver=journald sh -c 'echo one; echo two >&2; echo; printf three'
    podman wait streams
    run --separate-stderr podman logs streams
    expect stdout "$output" $'one\n\nthree'
    expect stderr "$stderr" two
}

@test "an entry has the fields that Podman and people look for (regression 57)" {
    podman_run -d --name=fields --log-driver=journald sh -c 'echo out; sleep 1; echo err >&2; sleep 1000'
    id=$(inspect fields .Id)
    monitor=$(inspect fields .State.ConmonPid)
    two_entries() { [ "$(entries fields | wc -l)" -eq 2 ]; }
    eventually two_entries
    run jq -r '[(.MESSAGE | rtrimstr("\n")), .PRIORITY, .CONTAINER_ID_FULL, .CONTAINER_ID, .CONTAINER_NAME, .SYSLOG_IDENTIFIER,
        ._COMM, ._PID, ._SYSTEMD_UNIT, .CONTAINER_TAG, .CONTAINER_PARTIAL_MESSAGE] | map(tostring) | join(" ")' <<<"$(entries fields)"
    rest="$id ${id:0:12} fields fields conmon $monitor libpod-conmon-$id.scope null null"
    expect entries "$output" "out 6 $rest"$'\n'"err 3 $rest"
}

@test "a tag is in every entry and is the identifier (regression 57)" {
    podman_run -d --name=tagged --log-driver=journald --log-opt=tag=my-tag echo line
    podman wait tagged
    run jq -r '[.CONTAINER_TAG, .SYSLOG_IDENTIFIER, .CONTAINER_NAME] | join(" ")' <<<"$(entries tagged)"
    expect entries "$output" 'my-tag my-tag tagged'
}

@test "a line that comes in pieces is one entry (regression 53)" {
    podman_run -d --name=pieces --log-driver=journald sh -c 'printf wa; sleep 1; printf "rn\n"'
    podman wait pieces
    run jq -r '[(.MESSAGE | rtrimstr("\n")), .CONTAINER_PARTIAL_MESSAGE] | map(tostring) | join(" ")' <<<"$(entries pieces)"
    expect entries "$output" 'warn null'
}

@test "a line of 20,000 bytes comes in parts that are marked, and logs joins them (regression 53)" {
    podman_run -d --name=long --log-driver=journald sh -c 'head -c 20000 /dev/zero | tr "\0" a; echo; echo next'
    podman wait long
    expect logs "$(podman logs long | sha256sum)" \
        "$( (head -c 20000 /dev/zero | tr '\0' a; echo; echo next) | sha256sum)"
    parts=$(entries long | jq -r '.CONTAINER_PARTIAL_MESSAGE // "whole"' | sort | uniq -c | tr -s ' ')
    [[ "$parts" == *true* ]]
    # The end of the long line and the line after it are complete.
    expect 'complete entries' "$(entries long | jq -r 'select(.CONTAINER_PARTIAL_MESSAGE | not) | .CONTAINER_ID' | wc -l)" 2
}

@test "bytes that are no text are kept (regression 54)" {
    podman_run -d --name=binary --log-driver=journald printf 'a\0b\377c\n'
    podman wait binary
    expect exit "$(inspect binary .State.ExitCode)" 0
    # As numbers, since it is no text; the line's own end may be there or not.
    run jq -c 'if (.MESSAGE | type) == "array" then .MESSAGE[:5] else .MESSAGE end' <<<"$(entries binary)"
    expect message "$output" '[97,0,98,255,99]'
}

@test "a priority at the head of a line becomes the entry's (regression 55)" {
    if [ -n "$MOTE_REFERENCE" ]; then
        skip 'releases before 2.2.0 do not know these'
    fi
    podman_run -d --name=prio --log-driver=journald sh -c 'echo "<4>careful"; echo plain'
    podman wait prio
    run jq -r '[(.MESSAGE | rtrimstr("\n")), .PRIORITY] | join(" ")' <<<"$(entries prio)"
    expect entries "$output" $'careful 4\nplain 6'
}

@test "logs -f follows to the end, and --tail gives the last of many" {
    podman_run -d --name=follow --log-driver=journald sh -c 'seq 1 2000; sleep 3; echo last; exit 4'
    run podman logs -f follow
    expect status "$status" 0
    expect sum "$(sha256sum <<<"$output")" "$( (seq 1 2000; echo last) | sha256sum)"
    expect tail "$(podman logs --tail 2 follow)" $'2000\nlast'
}

@test "what is written while the journal restarts comes after it, and the container goes on (regression 56)" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    podman_run -d --name=restart --log-driver=journald "--volume=$BATS_TEST_TMPDIR:/t" \
        sh -c 'echo before; read word </t/go; echo after; exit 6'
    said_before() { [ "$(podman logs restart)" = before ]; }
    eventually said_before
    systemctl restart systemd-journald.service
    tell "$BATS_TEST_TMPDIR/go"
    expect 'exit code' "$(podman wait restart)" 6
    expect logs "$(podman logs restart)" $'before\nafter'
}

@test "a Quadlet unit with the default driver has its output in the journal" {
    mkdir -p /etc/containers/systemd
    printf '[Container]\nImage=%s\nContainerName=quadlog\nNetwork=none\nExec=sh -c "echo from the unit; exec sleep 1000"\n' \
        "$image" >/etc/containers/systemd/quadlog.container
    systemctl daemon-reload
    systemctl start quadlog.service
    said() { [ "$(podman logs quadlog)" = 'from the unit' ]; }
    eventually said
    run journalctl --no-pager -o cat -u quadlog.service CONTAINER_NAME=quadlog
    status_before=$output
    systemctl stop quadlog.service
    rm /etc/containers/systemd/quadlog.container
    systemctl daemon-reload
    [[ "$status_before" == *'from the unit'* ]]
}

@test "twenty containers that end at once each have their own output and exit code" {
    mkfifo "$BATS_TEST_TMPDIR/go"
    started=()
    for n in $(seq 20); do
        podman_run -d --name="at-once-$n" --log-driver=journald "--volume=$BATS_TEST_TMPDIR:/t" \
            sh -c "cat /t/go >/dev/null; echo container $n; exit $n" >/dev/null &
        started+=($!)
        # A few at a time, or the machine's memory would be full of podman.
        if [ $((n % 5)) -eq 0 ]; then
            wait "${started[@]}"
            started=()
        fi
    done
    monitors_are 20
    tell "$BATS_TEST_TMPDIR/go"
    for n in $(seq 20); do
        expect "exit code of $n" "$(podman wait "at-once-$n")" "$n"
        expect "log of $n" "$(podman logs "at-once-$n")" "container $n"
    done
}
