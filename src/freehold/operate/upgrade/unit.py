"""The unit of systemd that runs a stack: what it started, it must stop and start, or it would take the end of the stack for a failure."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from freehold.config import env
from freehold.core.errors import Unhealthy

#: `0::/system.slice/freehold.service`, `0::/user.slice/user-1000.slice/user@1000.service/app.slice/freehold.service`
_SYSTEM = re.compile(r"/system\.slice/(?:[^/]+\.slice/)*(?P<unit>[^/]+\.service)")
_USER = re.compile(r"/user@\d+\.service/(?:[^/]+\.slice/)*(?P<unit>[^/]+\.service)")


def of(pid: int) -> str | None:
    """The unit a process belongs to, as `systemctl` takes it: "freehold.service", "--user freehold.service"; None: it is in none."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    return named_in(text)


def named_in(cgroup: str) -> str | None:
    """The unit that a line of /proc/PID/cgroup names, where it is one of ours; the shell of a person is in one too."""
    for pattern, scope in ((_USER, "--user "), (_SYSTEM, "")):
        if (match := pattern.search(cgroup)) and match["unit"].startswith("freehold"):
            return scope + match["unit"]
    return None


async def tell(unit: str, verb: str) -> None:
    """`systemctl start` or `stop`; returns when that is done.

    Raises:
        Unhealthy: it failed; the hint is what systemctl said.
    """
    process = await asyncio.create_subprocess_exec(
        "systemctl",
        *unit.split()[:-1],
        verb,
        unit.split()[-1],
        env=env.inherited(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        raise Unhealthy(f"`systemctl {verb} {unit}` failed", hint=said.decode(errors="replace").strip() or None)
