"""Runs commands one after the other and prints what they took: `python -I -S launch.py SECONDS < commands.json`.

stdin is a JSON list of argument lists. It is a process of its own because the kernel counts the size of whoever starts
a program as that program's peak memory: this one is as small as an interpreter gets. Prints one JSON document:
`{"seconds", "cpu_seconds", "peak_bytes", "status", "output"}`; it stops at the first command that fails.
"""

import json
import os
import signal
import sys
import time


def run(arguments: list, output: int) -> tuple:
    """(exit status, resource usage) of one command; what it prints goes to the file descriptor `output`."""
    files = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    files.insert(0, (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    running.append(os.posix_spawnp(arguments[0], arguments, os.environ, file_actions=files, setpgroup=0))
    _, status, usage = os.wait4(running[-1], 0)
    running.pop()
    return os.waitstatus_to_exitcode(status), usage


def too_late(*_: object) -> None:
    for process in running:
        os.killpg(process, signal.SIGKILL)
    timed_out.append(True)


running: list = []
timed_out: list = []
commands = json.loads(sys.stdin.read())
signal.signal(signal.SIGALRM, too_late)
signal.signal(signal.SIGTERM, too_late)
signal.alarm(int(sys.argv[1]))
log = os.memfd_create("output")
status, cpu, peak = 0, 0.0, 0
started = time.perf_counter()
for command in commands:
    status, usage = run(command, log)
    cpu += usage.ru_utime + usage.ru_stime
    peak = max(peak, usage.ru_maxrss * 1024)
    if status or timed_out:
        break
seconds = time.perf_counter() - started
end = os.lseek(log, 0, os.SEEK_END)
text = os.pread(log, 20000, max(0, end - 20000)).decode("utf-8", "replace")
if timed_out:
    status, text = -9, f"{text}\nstopped after {sys.argv[1]} s"
json.dump({"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "status": status, "output": text}, sys.stdout)
