"""Containers of the real runc: the root file system that all of them share, and each one's bundle.

A container runs a shell of busybox in the directory /life, which is the life's bundle.
"""

import json
import os
import shutil
import subprocess

LIFE = "/life"
CALL_S = 60.0
MEMORY_LIMIT = 16 << 20


class Runc:
    """runc, and what every container needs. Made once; close() removes it."""

    def __init__(self, directory):
        self.program = shutil.which("runc") or "/usr/sbin/runc"
        self.rootfs = os.path.join(directory, "rootfs")
        binaries = os.path.join(self.rootfs, "bin")
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", LIFE[1:]):
            os.makedirs(os.path.join(self.rootfs, name))
        shutil.copy(shutil.which("busybox"), f"{binaries}/busybox")
        for name in subprocess.run([f"{binaries}/busybox", "--list"], capture_output=True, text=True,
                                   check=True).stdout.split():
            if name != "busybox":
                os.symlink("busybox", f"{binaries}/{name}")
        spec = os.path.join(directory, "spec")
        os.mkdir(spec)
        subprocess.run([self.program, "spec"], cwd=spec, check=True, stdin=subprocess.DEVNULL)
        with open(f"{spec}/config.json", encoding="utf-8") as file:
            self.spec = file.read()

    @staticmethod
    def is_here():
        return os.geteuid() == 0 and shutil.which("busybox") is not None and \
            (shutil.which("runc") or os.access("/usr/sbin/runc", os.X_OK))


class Container:
    """One container in the bundle of `start`."""

    def __init__(self, runc, start, number):
        self.runc = runc
        self.start = start
        self.state = start.path("state")
        self.config = json.loads(runc.spec)
        self.config["root"] = {"path": runc.rootfs, "readonly": True}
        self.config["hostname"] = "mote"
        self.config["mounts"].append({"destination": LIFE, "type": "bind", "source": start.bundle,
                                      "options": ["bind", "rw"]})
        self.config["linux"]["cgroupsPath"] = f"/mote-chaos-{os.getpid()}-{number}"
        start.options["-r"] = runc.program
        start.words += ["--runtime-arg", f"--root={self.state}"]

    def process(self, script, tty):
        return dict(self.config["process"], terminal=tty, args=["/bin/sh", "-c", script], cwd=LIFE,
                    env=["PATH=/bin"])

    def write(self, script, tty=False, is_small=False):
        """Its config.json. `is_small`: with little memory."""
        self.config["process"] = self.process(script, tty)
        if is_small:
            self.config["linux"]["resources"]["memory"] = {"limit": MEMORY_LIMIT}
        with open(f"{self.start.bundle}/config.json", "w", encoding="utf-8") as file:
            json.dump(self.config, file)

    def write_exec(self, script, tty=False):
        """The process that is to be started in it, for --exec-process-spec."""
        with open(f"{self.start.bundle}/script", "w", encoding="utf-8") as file:
            json.dump(self.process(script, tty), file)

    def call(self, *words):
        return subprocess.run(
            [self.runc.program, f"--root={self.state}", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=CALL_S, check=False)

    def hold(self):
        """Run it without a monitor, for what is executed in it."""
        self.write("exec sleep 1000")
        return self.call("create", "-b", self.start.bundle, self.start.cid).returncode == 0 and \
            self.run()

    def run(self):
        return self.call("start", self.start.cid).returncode == 0

    def kill(self):
        self.call("kill", self.start.cid, "KILL")

    def delete(self):
        self.call("delete", "--force", self.start.cid)
