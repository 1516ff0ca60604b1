#!/usr/bin/env bats
#
# The monitor under the installed Podman, with runc: attach, stdin, terminals, exec, and the rest of
# what a person does with a running container.

load support

setup_file() {
    require_root
    export rootfs=$BATS_FILE_TMPDIR/rootfs
    make_rootfs "$rootfs"
    # For containers that get the machine's own /usr, to run what busybox lacks.
    mkdir -p "$rootfs/usr"
    ln -s usr/lib "$rootfs/lib"
    ln -s usr/lib64 "$rootfs/lib64"
    make_podman "$BATS_FILE_TMPDIR/podman" runc
}

teardown_file() {
    remove_podman
}

teardown() {
    podman rm -f -a -t 0 >/dev/null
}

# A file in the containers' /tmp that no other test uses, by which a container is told to go on.
go_file() {
    echo "/tmp/go-$BATS_TEST_NUMBER"
}

# Runs the private Podman on a terminal. Usage: on_terminal ROWS COLUMNS STEP... -- ARGUMENT...
on_terminal() {
    local before=()
    while [ "$1" != -- ]; do
        before+=("$1")
        shift
    done
    shift
    timeout -k 5 "$deadline_s" "$BATS_TEST_DIRNAME/on_terminal.py" "${before[@]}" -- \
        podman --conmon "$MOTE_CONMON" --root "$podman_home/root" --runroot "$podman_home/run" \
        --tmpdir "$podman_home/tmp" --storage-driver overlay "$@"
}

# ------------------------------------------------------------------------------- upgrade

@test "an upgrade under a running container changes nothing for Podman" {
    podman_run -d --name=up sh -c "echo before; until [ -e $(go_file) ]; do sleep 0.05; done; echo after; exit 7"
    monitor=$(inspect up .State.ConmonPid)
    eventually has_begun
    account=$(find "$podman_home" -path "*/$(inspect up .Id)/*" -name userdata -print -quit)/monitor.json
    for number in 1 2 3; do
        kill -USR2 "$monitor"
        eventually has_account "$number"
        run podman exec up echo "still $number"
        expect output "$output" "still $number"
    done
    touch "$rootfs$(go_file)"
    run podman wait up
    expect 'exit code' "$output" 7
    run podman logs up
    expect logs "$output" $'before\nafter'
    eventually [ ! -e "/proc/$monitor" ]
}

has_begun() {
    podman logs up | grep -q before
}

# Whether the monitor of the test above has been upgraded so often, as it says.
has_account() {
    kill -USR1 "$monitor"
    [ "$(jq .upgrades "$account")" = "$1" ]
}

# ------------------------------------------------------------------------------- stdin

@test "run -i carries 3 MB of stdin through a container unchanged (regression 9)" {
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    podman_run -i --rm cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
}

@test "run -i counts 3,200,000 bytes that come before the container reads (regression 9)" {
    head -c 3200000 /dev/zero >"$BATS_TEST_TMPDIR/in"
    run podman_run -i --rm sh -c 'sleep 0.5; wc -c' <"$BATS_TEST_TMPDIR/in"
    expect count "$(tr -d ' ' <<<"$output")" 3200000
}

@test "run -i ends when the container ends although more stdin would come (regression 2)" {
    run podman_run -i --rm head -n 1 < <(
        echo first
        sleep 2
        echo second
    )
    expect status "$status" 0
    expect output "$output" first
}

# ------------------------------------------------------------------------------- attach

@test "attach shows what comes from then on and ends with the container" {
    podman_run -d --name=att sh -c "until [ -e $(go_file) ]; do sleep 0.05; done; echo seen; exit 5"
    monitor=$(inspect att .State.ConmonPid)
    sockets() { ls -l "/proc/$monitor/fd" | grep -c socket; }
    before=$(sockets)
    podman attach att >"$BATS_TEST_TMPDIR/out" 2>&1 &
    attached=$!
    # Podman has connected once the monitor holds one more socket than before; give it the word
    # only then, or the line could pass it by.
    has_client() { [ "$(sockets)" -gt "$before" ]; }
    eventually has_client
    touch "$rootfs$(go_file)"
    status=0
    wait "$attached" || status=$?
    expect status "$status" 0
    expect output "$(cat "$BATS_TEST_TMPDIR/out")" seen
    expect 'exit code' "$(podman wait att)" 5
}

@test "attach gives stdin to a running container" {
    podman_run -d -i --name=feed sh -c 'read line; echo "got $line"; exit 6'
    run podman attach feed < <(echo word)
    expect status "$status" 0
    expect output "$output" 'got word'
    expect 'exit code' "$(podman wait feed)" 6
}

@test "start --attach --interactive gives stdin from the first byte" {
    podman create -i --network none --name sai --rootfs "$rootfs" cat >/dev/null
    run podman start --attach --interactive sai < <(printf 'a\nb\n')
    expect status "$status" 0
    expect output "$output" $'a\nb'
}

# ------------------------------------------------------------------------------- terminals

@test "run -it gives the container a terminal of the caller's size" {
    run on_terminal 33 101 -e 'size:33 101' -- \
        run --network none -it --rm --rootfs "$rootfs" sh -c 'sleep 0.5; echo "size:$(stty size)"; test -t 0 && test -t 1 && test -t 2'
    expect status "$status" 0
}

@test "run -it passes on what is typed, and the exit code" {
    run on_terminal 24 80 -e '# ' -t 'echo $((6*7))\n' -e 42 -e '# ' -t 'exit 7\n' -- \
        run --network none -it --rm --rootfs "$rootfs" sh
    expect status "$status" 7
}

@test "run -it passes on a change of the window's size (regression 69)" {
    run on_terminal 24 80 -e ready -s 40x120 -e 'size:40 120' -- \
        run --network none -it --rm --rootfs "$rootfs" \
        sh -c 'echo ready; until [ "$(stty size)" = "40 120" ]; do sleep 0.05; done; echo "size:$(stty size)"'
    expect status "$status" 0
}

@test "run -it ends lines with carriage return and newline" {
    run on_terminal 24 80 -- run --network none -it --rm --rootfs "$rootfs" echo line
    expect status "$status" 0
    expect output "$(tr '\r' R <<<"$output")" lineR
}

@test "run -it makes ctrl-c an interrupt of the container" {
    run on_terminal 24 80 -e ready -t '\x03' -e caught -- \
        run --network none -it --rm --rootfs "$rootfs" \
        sh -c 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.1; done'
    expect status "$status" 9
}

@test "run -it lets go at ctrl-p ctrl-q, and attach takes up again" {
    run on_terminal 24 80 -e '# ' -t '\x10' -w 300 -t '\x11' -- \
        run --network none -it --name=back --rootfs "$rootfs" sh
    expect status "$status" 0
    expect state "$(inspect back .State.Status)" running
    run on_terminal 24 80 -t 'echo $((40+2))\n' -e 42 -t 'exit 3\n' -- attach back
    expect status "$status" 0
    expect 'exit code' "$(podman wait back)" 3
}

@test "run -t logs the terminal's output as stdout" {
    podman_run -d -t --name=tty sh -c 'echo out; echo err >&2'
    podman wait tty
    run --separate-stderr podman logs tty
    expect stdout "$(tr -d '\r' <<<"$output")" $'out\nerr'
    expect stderr "$stderr" ''
}

@test "run -it shows much output whole" {
    run on_terminal 24 80 -- run --network none -it --rm --rootfs "$rootfs" seq 1 100000
    expect status "$status" 0
    expect sum "$(tr -d '\r' <<<"$output" | sha256sum)" "$(seq 1 100000 | sha256sum)"
}

# ------------------------------------------------------------------------------- exec

@test "exec prints the output and ends with the exit code (regression 15)" {
    podman_run -d --name=host sleep 1000
    for code in 0 1 2 126 127 137 255; do
        # Bats warns of 127 as of a command that is missing; here it is wanted.
        run -"$code" podman exec host sh -c "echo code $code; exit $code"
        expect "output of $code" "$output" "code $code"
    done
}

@test "exec keeps stdout and stderr apart" {
    podman_run -d --name=host sleep 1000
    run --separate-stderr podman exec host sh -c 'echo out; echo err >&2'
    expect stdout "$output" out
    expect stderr "$stderr" err
}

@test "exec of a missing command ends with 127 and names it (regression 16)" {
    podman_run -d --name=host sleep 1000
    run -127 podman exec host no-such-command
    [[ "$output" == *no-such-command* ]]
}

@test "exec of a file that cannot be executed ends with 126" {
    podman_run -d --name=host sleep 1000
    run podman exec host /etc/passwd
    expect status "$status" 126
}

@test "exec -i carries 3 MB both ways unchanged (regression 9)" {
    podman_run -d --name=host sleep 1000
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    podman exec -i host cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
}

@test "exec -it gives a terminal of the caller's size" {
    podman_run -d --name=host sleep 1000
    run on_terminal 37 111 -e 'size:37 111' -- exec -it host sh -c 'sleep 0.3; echo "size:$(stty size)"'
    expect status "$status" 0
}

@test "exec -it passes on what is typed, and the exit code" {
    podman_run -d --name=host sleep 1000
    run on_terminal 24 80 -e '# ' -t 'echo $((6*7))\n' -e 42 -t 'exit 7\n' -- exec -it host sh
    expect status "$status" 7
}

@test "exec -it of a missing command ends with 127" {
    podman_run -d --name=host sleep 1000
    run -127 on_terminal 24 80 -- exec -it host no-such-command
}

@test "exec -d runs a command and comes back at once" {
    podman_run -d --name=host sleep 1000
    run podman exec -d host sh -c "sleep 0.2; touch $(go_file)"
    expect status "$status" 0
    eventually test -e "$rootfs$(go_file)"
}

@test "exec loses no output of a quick command, a hundred times (regression 10)" {
    podman_run -d --name=host sleep 1000
    wanted=$(seq 1 10000 | sha256sum)
    for n in $(seq 100); do
        expect "sum of round $n" "$(podman exec host seq 1 10000 | sha256sum)" "$wanted"
    done
}

@test "exec leaves no monitor and no zombie behind (regression 18)" {
    podman_run -d --name=host sleep 1000
    monitor=$(inspect host .State.ConmonPid)
    for n in 1 2 3 4 5; do
        podman exec host true
    done
    # The one monitor that is left is the container's.
    only_one() {
        [ "$(ps -eo pid=,stat=,comm= | awk '$3 == "conmon"' | wc -l)" -eq 1 ]
    }
    sessions_gone() {
        local cmdline
        for cmdline in /proc/[0-9]*/cmdline; do
            if tr '\0' ' ' <"$cmdline" 2>/dev/null | grep -q "conmon .*$podman_home.*--exec-process-spec"; then
                return 1
            fi
        done
    }
    eventually sessions_gone
    expect 'zombies of the monitor' "$(ps -o stat= --ppid "$monitor" | grep -c Z || true)" 0
}

@test "exec ends when its container is killed" {
    podman_run -d --name=host sleep 1000
    podman exec host sh -c "touch $(go_file); sleep 1000" &
    session=$!
    eventually test -e "$rootfs$(go_file)"
    podman kill host
    status=0
    wait "$session" || status=$?
    expect status "$status" 137
}

@test "a healthcheck is good or bad as its command says" {
    podman_run -d --name=health --health-interval=disable "--health-cmd=test -e $(go_file)" sleep 1000
    run podman healthcheck run health
    expect 'status when bad' "$status" 1
    touch "$rootfs$(go_file)"
    run podman healthcheck run health
    expect 'status when good' "$status" 0
}

# ------------------------------------------------------------------------------- the rest

@test "--timeout ends a container that takes too long (regression 25)" {
    run podman_run --rm --timeout=1 sleep 1000
    expect status "$status" 255
}

@test "--timeout leaves a container alone that ends in time" {
    run podman_run --rm --timeout=30 sh -c 'exit 3'
    expect status "$status" 3
}

@test "--log-driver passthrough writes straight to the caller" {
    run --separate-stderr podman_run --rm --log-driver=passthrough sh -c 'echo out; echo err >&2; exit 4' </dev/null
    expect status "$status" 4
    expect stdout "$output" out
    expect stderr "$stderr" err
}

@test "--log-driver none records nothing, and shows everything" {
    run podman_run --name=quiet --log-driver=none sh -c 'echo out; exit 4'
    expect status "$status" 4
    expect output "$output" out
    run podman logs quiet
    [ "$status" -ne 0 ]
}

@test "--sdnotify=container passes READY=1 on to the host (regression 66)" {
    timeout "$deadline_s" socat -u "UNIX-RECV:$BATS_TEST_TMPDIR/host.sock" "CREATE:$BATS_TEST_TMPDIR/told" &
    listener=$!
    eventually test -S "$BATS_TEST_TMPDIR/host.sock"
    NOTIFY_SOCKET=$BATS_TEST_TMPDIR/host.sock podman_run -d --name=notify --sdnotify=container \
        --volume=/usr:/usr:ro \
        sh -c 'printf "READY=1\nSTATUS=up\nX_FOO=1" | /usr/bin/socat - UNIX-SENDTO:$NOTIFY_SOCKET; sleep 1000'
    told() { grep -q READY=1 "$BATS_TEST_TMPDIR/told"; }
    eventually told
    run cat "$BATS_TEST_TMPDIR/told"
    [[ "$output" != *X_FOO* ]]
    kill "$listener"
}

@test "a container that is killed for want of memory is reported so (regression 65)" {
    cd "$BATS_TEST_TMPDIR"
    run podman_run --name=hungry --memory=32m --memory-swap=32m tail /dev/zero
    expect status "$status" 137
    expect OOMKilled "$(inspect hungry .State.OOMKilled)" true
    expect 'files in the current directory' "$(ls)" ''
}

@test "a container that is stopped is not reported as killed for want of memory (regression 64)" {
    for n in 1 2 3 4 5; do
        podman_run -d "--name=calm$n" --memory=32m sleep 1000
        podman stop -t 0 "calm$n"
        expect "OOMKilled of $n" "$(inspect "calm$n" .State.OOMKilled)" false
    done
}
