"""Instructions this processor has: a server built for one machine dies on another that shares its cache (a home on the network,
a build machine's cache) and lacks some of them, and only when it first uses one."""

from __future__ import annotations

from pathlib import Path

#: Instruction sets that a compiler told to use this machine's own may use; the other flags of a processor do not matter.
_INSTRUCTIONS = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx", "gfni", "vaes", "vpclmul", "sve", "sme", "asimd", "fp", "i8mm", "bf16")
#: Flags that only begin like one of them.
_OTHER = frozenset({"fpu", "smep"})
_CPUINFO = Path("/proc/cpuinfo")


def instructions(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """`{"sse2", "avx2", …}` on Linux; empty where the system does not tell, as on macOS, whose builds are for all its machines."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(flag for flag in value.split() if flag.startswith(_INSTRUCTIONS) and flag not in _OTHER)
    return frozenset()


def save(path: Path) -> None:
    """Write down what a build for this machine may use."""
    path.write_text("\n".join(sorted(instructions())))


def suits(path: Path, found: frozenset[str] | None = None) -> bool:
    """Whether this machine has all that was written down; yes where nothing was."""
    try:
        wanted = path.read_text().split()
    except OSError:
        return True
    return frozenset(wanted) <= (instructions() if found is None else found)
