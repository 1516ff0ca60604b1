#!/usr/bin/env bats
#
# Containers over two new starts of the machine: one in good order, and one as after a power cut, with
# all that the monitors had made left behind. tests/vm/guest runs the tests that are
# tagged boot:0 last of all tests, restarts the machine, runs those of boot:1, cuts the power, and runs
# those of boot:2.

load support

teardown() {
    tell_of_failure
}

# What the containers do: they say that they are up, and, when they are asked to end, bye.
script='trap "echo bye; exit 0" TERM; echo up; sleep 100000 & wait'

# Runs a command as the ordinary user.
as_user() {
    timeout -k 5 "$deadline_s" runuser -u tester -- env -C /home/tester HOME=/home/tester \
        XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus "$@"
}

# Succeeds when the words given print lines $1.
prints() {
    [ "$("${@:2}" 2>&1)" = "$1" ]
}

# Checks that the containers that are to be running are, with a monitor each, and work.
all_are_running() {
    eventually prints running podman inspect --format '{{.State.Status}}' always
    eventually prints running as_user podman inspect --format '{{.State.Status}}' mine
    eventually prints active systemctl is-active kept.service
    expect 'name of the main process' "$(<"/proc/$(systemctl show -P MainPID kept.service)/comm")" conmon
    for name in always kept; do
        expect "name of the monitor of $name" "$(<"/proc/$(inspect "$name" .State.ConmonPid)/comm")" conmon
        expect "said in $name" "$(podman exec "$name" echo hello)" hello
    done
    expect 'said in mine' "$(as_user podman exec mine echo hello)" hello
    eventually monitors_are 2
}

# Checks that the logs of those that run again hold their former lives. (Podman may have started one again
# while the machine was going down, and TERM may have come twice.)
logs_are_whole() {
    for words in 'podman logs always' 'as_user podman logs mine'; do
        # shellcheck disable=SC2086 # words
        run $words
        [[ "${lines[*]} " =~ ^up\ (bye\ )+(up\ (bye\ )*)*up\ $ ]]
    done
}

# bats test_tags=boot:0
@test "containers of root and of a user, and a unit, are running when the machine is restarted" {
    # The image has this one masked.
    rm -f /etc/systemd/system/podman-restart.service
    mkdir -p /etc/containers/systemd
    printf '[Container]\nImage=%s\nContainerName=kept\nNetwork=none\nLogDriver=k8s-file\nExec=sh -c "exec sleep 100000"\n[Install]\nWantedBy=multi-user.target\n' \
        "$image" >/etc/containers/systemd/kept.container
    systemctl daemon-reload
    systemctl enable --now podman-restart.service
    systemctl start kept.service
    as_user systemctl --user enable --now podman-restart.service
    podman_run -d --name=always --log-driver=k8s-file --restart=always sh -c "$script"
    podman_run -d --name=once --log-driver=k8s-file sh -c "$script"
    podman_run --name=done --log-driver=k8s-file sh -c 'echo done; exit 3' || expect status $? 3
    as_user podman run -d --name=mine --network=none --log-driver=k8s-file --restart=always "$image" sh -c "$script"
    eventually prints up podman logs always
    eventually prints up podman logs once
    eventually prints up as_user podman logs mine
    eventually monitors_are 3
}

# bats test_tags=boot:1
@test "after a restart those run again that should, with their logs, and the others can be started" {
    all_are_running
    logs_are_whole
    expect 'exit code of the one that had ended' "$(inspect done .State.ExitCode)" 3
    [ "$(inspect once .State.Status)" != running ]
    podman start once
    up_again() { podman logs once | tail -n 1 | grep -qx up; }
    eventually up_again
    expect 'said in once' "$(podman exec once echo hello)" hello
    eventually monitors_are 3
}

# bats test_tags=boot:2
@test "after a power cut those run again that should, and their logs are whole" {
    all_are_running
    logs_are_whole
    # The one that was cut off and is not started by anybody has kept its log, and can be started.
    podman start once
    eventually monitors_are 3
    expect 'said in once' "$(podman exec once echo hello)" hello
    podman stop -t 100 once
    expect 'exit code of once' "$(podman wait once)" 0
    expect 'strange lines in the log' "$(podman logs once | grep -vxE 'up|bye')" ''

    systemctl stop kept.service podman-restart.service
    rm -f /etc/containers/systemd/kept.container
    podman rm -f -a -t 0
    as_user podman rm -f -a -t 0
    eventually monitors_are 0
}
