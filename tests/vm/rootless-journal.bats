#!/usr/bin/env bats
#
# The journald driver for an ordinary user, who reads his containers' entries in his own journal.

load support

teardown() {
    end_of_test
}

@test "an ordinary user's logs come from the journal" {
    podman_run -d --name=streams --log-driver=journald sh -c 'echo one; echo two >&2; printf three'
    podman wait streams
    run --separate-stderr podman logs streams
    expect stdout "$output" $'one\nthree'
    expect stderr "$stderr" two
    run journalctl --user --no-pager -o cat CONTAINER_NAME=streams PRIORITY=3
    [[ "$output" == *two* ]]
}
