"""Turns itself into a program that ends when we do. Run by path with `python -I -S`, so it must not import Freehold.

Usage: child.py PARENT_PID SIGNAL UID:GID CWD [--cpus=0,1] -- PROGRAM ARGUMENT...   (UID:GID is `-` to stay who we are)

Between fork and exec four things must be so: its own session, so a Ctrl-C at the terminal reaches only its parent;
the right user; a promise of the kernel to end it when that parent dies, which a change of user would take away again
and which does not count a parent that is dead already; and no files open but the three standard ones.
"""

import contextlib
import ctypes  # now: as another user Python's own library may be out of reach
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, number, user, cwd, *rest = arguments
    options, command = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    os.setsid()
    for option in options:
        _pin(option.removeprefix("--cpus="))
    _become(user)
    _die_with(int(parent), int(number))
    os.closerange(3, 65536)
    os.umask(0o077)
    for name in range(1, signal.NSIG):
        if name in (signal.SIGKILL, signal.SIGSTOP) or 32 <= name <= 33:  # the last two belong to the C library
            continue
        signal.signal(name, signal.SIG_DFL)
    try:
        os.chdir(cwd)
        os.execv(command[0], command)  # noqa: S606 - the purpose of this file
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        os._exit(127)


def _pin(cpus: str) -> None:
    """Threads inherit it, so it comes before the program counts the processors it has."""
    try:
        os.sched_setaffinity(0, {int(number) for number in cpus.split(",")})
    except OSError as error:
        sys.stderr.write(f"cannot be pinned to the processors {cpus}: {error.strerror}\n")
        os._exit(126)


def _become(user: str) -> None:
    if user == "-":
        return
    uid, gid = (int(part) for part in user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _die_with(parent: int, number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    else:
        _watch(parent, number)
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int, number: int) -> None:
    """Where the kernel makes no such promise, a grandchild that belongs to nobody waits for the first of the two to end."""
    service = os.getpid()
    if os.fork() > 0:
        os.wait()
        return
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    os.closerange(0, 65536)
    queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
    try:
        for pid in (parent, service):
            event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)  # type: ignore[attr-defined,unused-ignore]
            queue.control([event], 0)
        ended = queue.control(None, 1)[0].ident
    except ProcessLookupError:
        ended = parent
    if ended == parent:
        with contextlib.suppress(ProcessLookupError):
            os.kill(service, number)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
