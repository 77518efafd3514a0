"""NVIDIA GPUs, as DCGM measures them: are they used, is there room, are they healthy?"""

from __future__ import annotations

from freehold.stack.monitoring.dashboards.panel import Dashboard, Panel, Query, Row, Variable

_GPU = '{gpu=~"$gpu"}'


def _each(metric: str, legend: str = "GPU {{gpu}}") -> tuple[Query, ...]:
    return (Query(f"{metric}{_GPU}", legend),)


_USE = (
    Panel(
        "Utilisation",
        "Share of the time in which something ran on the GPU. High says busy, not well used: the next panel does.",
        (Query(f"DCGM_FI_DEV_GPU_UTIL{_GPU} / 100", "GPU {{gpu}}"),),
        "percentunit",
        most=1,
    ),
    Panel(
        "Memory bus",
        "Share of the time in which memory moved data. Writing tokens is bound by it, reading prompts by the cores.",
        (Query(f"DCGM_FI_DEV_MEM_COPY_UTIL{_GPU} / 100", "GPU {{gpu}}"),),
        "percentunit",
        most=1,
    ),
    Panel(
        "Memory in use",
        "Share of the GPU's memory. vLLM takes what it is told at its start, so a flat line is right.",
        (Query(f"freehold:gpu_memory_usage{_GPU}", "GPU {{gpu}}"),),
        "percentunit",
        most=1,
        steps=((0.95, "red"),),
    ),
)

_HEALTH = (
    Panel(
        "Temperature",
        "Of the chip. GPUs slow down by themselves somewhere above 85 °C.",
        _each("DCGM_FI_DEV_GPU_TEMP"),
        "celsius",
        steps=((80, "yellow"), (88, "red")),
    ),
    Panel("Power", "Drawn now.", _each("DCGM_FI_DEV_POWER_USAGE"), "watt"),
    Panel(
        "Clock",
        "Of the compute units. A fall under load is heat or a power limit.",
        (Query(f"DCGM_FI_DEV_SM_CLOCK{_GPU} * 1e6", "GPU {{gpu}}"),),
        "hertz",
    ),
    Panel(
        "Errors",
        "Number of the last XID error of the driver; 0 is none. The NVIDIA documentation says what each means.",
        _each("DCGM_FI_DEV_XID_ERRORS"),
        "short",
        "stat",
        width=12,
        steps=((1, "red"),),
    ),
    Panel(
        "Energy",
        "Used in the time shown.",
        (Query(f"increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{_GPU}[$__range]) / 3.6e6", "GPU {{gpu}}"),),
        "watth",
        "stat",
        width=12,
    ),
)

DASHBOARD = Dashboard(
    uid="freehold-gpu",
    title="Freehold / GPU",
    about="Are the GPUs used, is there room on them, are they healthy?",
    rows=(Row("Use", _USE, "gpu"), Row("Health", _HEALTH, "gpu")),
    variables=(Variable("gpu", "GPU", "DCGM_FI_DEV_FB_USED", "gpu"),),
)
