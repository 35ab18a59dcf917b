"""Run one command and print its wall time (s), CPU time (s), peak memory (KiB) and exit code.

A process of its own, started without site-packages: on Linux the peak of a child process includes
that of the process it was forked from, so the parent has to be small. What the command prints goes
to standard error.
"""

import os
import sys
import time


def main(command: list[str]) -> None:
    began = time.perf_counter()
    child = os.posix_spawnp(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)]
    )
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - began
    kib = usage.ru_maxrss // 1024 if sys.platform == "darwin" else usage.ru_maxrss
    print(wall, usage.ru_utime + usage.ru_stime, kib, os.waitstatus_to_exitcode(status))


main(sys.argv[1:])
