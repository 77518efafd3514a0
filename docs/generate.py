"""Writes the pages of docs/reference from what the code says about itself, so that neither can be wrong alone.

`make docs` runs it; a test compares the pages with what it would write.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from freehold.cli.main import EXIT_CODES, app
from freehold.config.env import VARIABLES
from freehold.config.schema import schema
from freehold.stack.monitoring.alert import Alert, Watched
from freehold.stack.monitoring.alerts import groups as alert_groups
from freehold.stack.monitoring.recording import groups
from freehold.telemetry.metrics import MAX_LABEL_VALUES, declared

REFERENCE = Path(__file__).parent / "reference"
_KEY = re.compile(r"# (?P<name>[a-z_]+) = (?P<value>.*?)(?P<example>  # an example; not set by default)?")
#: A table that may be there under any name stands in a comment: `# [models.coder]`.
_HEADER = re.compile(r"(?:# )?\[([a-z.]+)\]")
#: How help is shown on the page.
_HELP: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100, "help_option_names": ["-h", "--help"]}
_NOTICE = "<!-- Written by docs/generate.py (`make docs`). -->\n"


@dataclass
class Section:
    """A `[section]` of the example: what it is for and its keys as (name, default, meaning)."""

    name: str
    about: str
    keys: list[tuple[str, str, str]] = field(default_factory=list)


def sections(example: str) -> Iterator[Section]:
    """The sections of the annotated example, in order."""
    current: Section | None = None
    comment: list[str] = []
    for line in example.splitlines():
        if header := _HEADER.fullmatch(line):
            if current:
                yield current
            current, comment = Section(header[1], " ".join(comment)), []
        elif current and (match := _KEY.fullmatch(line)):
            default = f"unset, e.g. `{match['value']}`" if match["example"] else f"`{match['value']}`"
            current.keys.append((match["name"], default, " ".join(comment)))
            comment = []
        else:
            comment = [*comment, line.removeprefix("# ")] if line.startswith("#") else []
    if current:
        yield current


def configuration_page(example: str) -> str:
    """Markdown of docs/reference/configuration.md."""
    lines = [
        _NOTICE,
        "# Configuration\n",
        "Settings are read from `freehold.toml` in the working directory (or the file that `FREEHOLD_CONFIG` names), then from",
        "`freehold.NAME.toml` beside it, where `--env NAME` or `FREEHOLD_ENV` asks for that, then from the environment, then from the",
        "command line; the later source wins. Without any of them the defaults give a working stack.",
        "`freehold config show --origin` prints every key with its value and where it came from. An unknown key or a wrong value",
        "is an error that names the key.\n",
    ]
    for section in sections(example):
        lines += [f"## `[{section.name}]`\n", f"{section.about}\n", "| key | default | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {default} | {_cell(about)} |" for name, default, about in section.keys]
        lines.append("")
    lines += ["## Environment variables\n", "| variable | meaning |", "| --- | --- |"]
    lines += [f"| `{variable.name}` | {_cell(variable.about)}{' Never shown.' if variable.secret else ''} |" for variable in VARIABLES]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def commands_page() -> str:
    """Markdown of docs/reference/commands.md: the help of every command, and the exit codes."""
    lines = [_NOTICE, "# Commands\n", "Data goes to standard output, everything else to standard error; `--json` prints JSON.\n"]
    program = get_command(app)
    for path, text in _helps(program, Context(program, info_name="freehold", **_HELP)):
        lines += [f"## `{path}`\n", f"```text\n{text}\n```\n"]
    lines += ["## Exit codes\n", "| code | meaning |", "| --- | --- |", "| 0 | It worked. |"]
    lines += [f"| {code} | {' '.join(kinds)} |" for code, kinds in _exit_codes().items()]
    return "\n".join(lines) + "\n"


def _helps(command: Any, context: Context) -> Iterator[tuple[str, str]]:
    """Each command with its help, groups before what is in them."""
    yield context.command_path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines()).strip()
    for name in command.list_commands(context) if isinstance(command, TyperGroup) else ():
        child = command.get_command(context, name)
        yield from _helps(child, Context(child, info_name=name, parent=context, **_HELP))


def _exit_codes() -> dict[int, list[str]]:
    """Exit code -> what the errors that give it mean."""
    codes: dict[int, list[str]] = {}
    for error, code in sorted(EXIT_CODES.items(), key=lambda item: item[1]):
        codes.setdefault(code, []).append(error().message)
    return codes


def metrics_page() -> str:
    """Markdown of docs/reference/metrics.md: every metric that is declared."""
    lines = [
        _NOTICE,
        "# Metrics\n",
        "`GET /metrics` of the agent server answers in Prometheus' text format, with a key where the server needs one. It shows what the",
        "server and all workers of its stack count: they share the folder that `PROMETHEUS_MULTIPROC_DIR` names (`freehold up` sets it).",
        "What a process that died had under way is forgotten at the next scrape; what it counted stays. Models and tools are counted in",
        "every graph, also in your own, whatever class they are of. No metric and no label holds anything a user or a model wrote.",
        f"A model's or tool's name counts as `other` once there are {MAX_LABEL_VALUES} of them.\n",
        "| metric | kind | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for metric in declared():
        (family,) = metric.describe()
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {_cell(family.documentation)} |")
    lines += [
        "",
        "Durations are seconds, sizes bytes; histograms have `_bucket`, `_sum` and `_count`. What is said of the queue, of threads and of",
        "checkpoints is read from the database at each scrape, and `NaN` while it is away. Beside them stand `process_*` of the server.\n",
        "Thresholds to begin with: inference p95 over 5 s for two minutes, `freehold_queue_age_seconds` over 30 s, and any",
        "`increase(llm_inference_errors_total[5m])` that does not go away.\n",
        "## Recorded series\n",
        "What Prometheus records from these and from what engines, stores and the machine show, under names that do not change with the",
        "engine: dashboards and alerts ask for them. Those about models have the labels `model` and `source`: `engine` where its server",
        "measured, `agents` where it does not measure this and our agents did.\n",
        "| series | meaning |",
        "| --- | --- |",
    ]
    lines += [f"| `{rule.record}` | {_cell(rule.about)} |" for group in groups({"model": 1}) for rule in group.rules]
    return "\n".join(lines) + "\n"


def compatibility_page() -> str:
    """Markdown of docs/reference/compatibility.md: what the tests of the API prove."""
    compatibility = runpy.run_path(str(Path(__file__).parent / "compatibility.py"))
    return str(compatibility["page"](compatibility["marks"]()))


_GROUPS = {
    "measuring": "Measuring itself",
    "models": "Models and GPUs",
    "runs": "Requests, runs and workers",
    "stores": "PostgreSQL and Valkey",
    "machine": "The machine and its edge",
}


def runbooks_page() -> str:
    """A runbook for every alert."""
    watched = Watched(jobs=("server", "model"), models=("model",), workers=1, slots=10)
    lines = [
        _NOTICE,
        "# Runbooks\n",
        'What each alert of `stack.services = ["monitoring"]` means, where to look and what to do. '
        "[How to monitor a stack](../how-to/monitoring.md) says who hears of them.\n",
        "*critical*: people get no answers, or soon will not. *warning*: look at it today.\n",
    ]
    for name, group in alert_groups(watched):
        lines.append(f"## {_GROUPS[name]}\n")
        lines += [line for alert in group for line in _runbook(alert)]
    return "\n".join(lines)


def _runbook(alert: Alert) -> list[str]:
    lasting = f" for {alert.lasting}" if alert.lasting else ""
    quiet = [f"`{cause}`" for cause in alert.explained_by]
    quiet += [f"`TargetDown` of {job}" for job in alert.needs]
    return [
        f"### {alert.name}\n",
        f"*{alert.severity}*, when `{alert.expr}`{lasting}.\n",
        f"**It means.** {alert.means}\n",
        f"**Look.** {alert.look}\n",
        f"**Do.** {alert.do}\n",
        *([f"It keeps quiet while {' or '.join(quiet)} fires, which explains it.\n"] if quiet else []),
    ]


def pages() -> dict[Path, str]:
    """Every generated page with what it should hold."""
    example = (files("freehold.config") / "example.toml").read_text(encoding="utf-8")
    return {
        REFERENCE / "configuration.md": configuration_page(example),
        REFERENCE / "freehold.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        REFERENCE / "commands.md": commands_page(),
        REFERENCE / "metrics.md": metrics_page(),
        REFERENCE / "compatibility.md": compatibility_page(),
        REFERENCE.parent / "runbooks" / "alerts.md": runbooks_page(),
    }


def main() -> int:
    """Write the pages that differ."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stderr.write(f"wrote {path.relative_to(Path(__file__).parent.parent)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
