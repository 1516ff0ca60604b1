"""What starts and ends in a row leave behind."""

import os

from bench import Running, read_text


def measure_leavings(bench):
    """Containers that start and end, one after the other; everything about each end is checked.

    Counts what is wrong: a log, an exit file or a status that is not right, a file, link, socket,
    process or zombie that stays. Half of them have their attach socket behind a link.
    """
    rounds = 200 if bench.quick else 1000
    wrong = []
    for n in range(rounds):
        code = n % 256
        running = Running(bench, bench.mote, do=f"exit {code}", full_attach=n % 2 == 0)
        running.await_container()
        status = running.end(kill=False)
        if status != code:
            wrong.append(f"{n}: the monitor ended with {status}")
        if not os.path.exists(running.exit_file) or read_text(running.exit_file) != str(code):
            wrong.append(f"{n}: the exit file is not right")
        lines = sorted(line.split(" ", 1)[1] for line in read_text(running.log).splitlines())
        if lines != [f"stderr F error {code}", f"stdout F container {code}"]:
            wrong.append(f"{n}: the log has {lines}")
        left = set(os.listdir(running.bundle)) | {
            f"{directory}/{name}" for directory in ("exits", "links")
            for name in os.listdir(os.path.join(running.bundle, directory))}
        # What the caller removes: contract of the files.
        left -= {"exits", "links", f"exits/{running.id}", "ctr.log", "pidfile", "conmon.pid",
                 "ctl", "winsz"}
        if left:
            wrong.append(f"{n}: left behind: {sorted(left)}")
        running.remove()
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        wrong.append(f"a process is left: {pid or 'still running'}")
    except ChildProcessError:
        pass  # None is left.
    bench.put("leavings", "mote", len(wrong))
    if wrong:
        bench.troubles["leavings"] = "; ".join(wrong[:5])

