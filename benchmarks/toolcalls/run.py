"""How often a model's tool calls are right, with and without the layer that reads badly written ones.

A seeded sample of the Berkeley Function Calling Leaderboard (package `bfcl-eval`, Apache-2.0; only its data files are
read): `simple` and `multiple` want one right call, `irrelevance` wants none. Each question is asked once, at temperature
0; both figures come from the same generation, because the layer works on what the model wrote.

    python benchmarks/toolcalls/run.py --base-url http://127.0.0.1:8000/v1 --model NAME --results bfcl.json

Stopping and starting again goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import math
import random
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from freehold.graphs.agents.model import mend_message, tool_schemas

FILES = {"simple": "simple_python", "multiple": "multiple", "irrelevance": "irrelevance"}

#: Types as the data set writes them -> JSON schema.
TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


@dataclass(frozen=True)
class Question:
    """One item: what is asked, the tools in OpenAI's form, and the acceptable calls (none for irrelevance)."""

    id: str
    category: str
    messages: list[dict[str, str]]
    tools: list[dict[str, Any]]
    answers: list[dict[str, dict[str, list[Any]]]]


def main() -> None:
    arguments = parse_arguments()
    questions = sample(data_folder(), arguments.per_category, arguments.seed)
    results = Results(arguments.results, model=arguments.model, seed=arguments.seed)
    asyncio.run(generate(questions, results, arguments))
    report = summarise(questions, results)
    results.finish(report)
    print_table(report)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="default")
    parser.add_argument("--results", type=Path, default=Path("toolcalls-bfcl.json"))
    parser.add_argument("--per-category", type=int, default=60)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=256)
    return parser.parse_args()


def data_folder() -> Path:
    """Where the package keeps its data; the package itself is not imported."""
    spec = importlib.util.find_spec("bfcl_eval")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("bfcl-eval is not installed: pip install --no-deps bfcl-eval")
    return Path(spec.submodule_search_locations[0]) / "data"


def sample(data: Path, count: int, seed: int) -> list[Question]:
    """The same questions for the same seed, `count` of each category."""
    chosen: list[Question] = []
    for category, name in FILES.items():
        items = read_lines(data / f"BFCL_v4_{name}.json")
        answers_file = data / "possible_answer" / f"BFCL_v4_{name}.json"
        answers = {item["id"]: item["ground_truth"] for item in read_lines(answers_file)} if answers_file.exists() else {}
        for item in random.Random(f"{seed}:{category}").sample(items, count):
            chosen.append(
                Question(
                    id=item["id"],
                    category=category,
                    messages=item["question"][0],
                    tools=[{"type": "function", "function": as_openai(function)} for function in item["function"]],
                    answers=[{plain(name): values for name, values in answer.items()} for answer in answers.get(item["id"], [])],
                )
            )
    return chosen


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def plain(name: str) -> str:
    """OpenAI's API takes no dots in names, so `math.factorial` is offered as `math_factorial`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def as_openai(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": plain(function["name"]), "description": function["description"], "parameters": as_schema(function["parameters"])}


def as_schema(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: TYPES.get(value, value) if key == "type" and isinstance(value, str) else as_schema(value) for key, value in schema.items()
        }
    return [as_schema(item) for item in schema] if isinstance(schema, list) else schema


class Results:
    """Generations by question, kept in a file after each one."""

    def __init__(self, file: Path, *, model: str, seed: int) -> None:
        self._file = file
        kept = json.loads(file.read_text()) if file.exists() else {}
        if kept and (kept["model"], kept["seed"]) != (model, seed):
            sys.exit(f"{file} holds results of another model or seed; name another file with --results")
        self.content: dict[str, Any] = kept or {"model": model, "seed": seed, "generations": {}}

    @property
    def generations(self) -> dict[str, dict[str, Any]]:
        return self.content["generations"]  # type: ignore[no-any-return]  # parsed JSON

    def add(self, question: Question, message: AIMessage, seconds: float) -> None:
        self.generations[question.id] = {
            "content": message.content,
            "tool_calls": message.tool_calls,
            "invalid_tool_calls": message.invalid_tool_calls,
            "seconds": round(seconds, 2),
        }
        self._write()

    def finish(self, report: dict[str, Any]) -> None:
        self.content["report"] = report
        self._write()

    def _write(self) -> None:
        waiting = self._file.with_suffix(".part")
        waiting.write_text(json.dumps(self.content, indent=1, ensure_ascii=False))
        waiting.replace(self._file)


async def generate(questions: Sequence[Question], results: Results, arguments: argparse.Namespace) -> None:
    model = ChatOpenAI(
        model=arguments.model,
        base_url=arguments.base_url,
        api_key="none",  # type: ignore[arg-type]  # pydantic makes it a secret
        temperature=0,
        max_retries=2,
        timeout=300,
        extra_body={"max_tokens": arguments.max_tokens},
    )
    waiting = [question for question in questions if question.id not in results.generations]
    slots = asyncio.Semaphore(arguments.concurrency)

    async def ask(question: Question) -> None:
        async with slots:
            started = time.perf_counter()
            message = await model.bind_tools(question.tools).ainvoke(conversation(question))
            results.add(question, message, time.perf_counter() - started)
            print(f"\r{len(results.generations)}/{len(questions)}", end="", file=sys.stderr, flush=True)

    await asyncio.gather(*map(ask, waiting))
    print(file=sys.stderr)


def conversation(question: Question) -> list[Any]:
    kinds = {"user": HumanMessage, "system": SystemMessage, "assistant": AIMessage}
    return [kinds[message["role"]](message["content"]) for message in question.messages]


def summarise(questions: Sequence[Question], results: Results) -> dict[str, Any]:
    """`{"simple": {"without": {"right": 3, "of": 60, "interval": [0.01, 0.13]}, "with": {...}}, ...}`."""
    right: dict[str, dict[str, int]] = {}
    for question in questions:
        kept = results.generations[question.id]
        message = AIMessage(kept["content"], tool_calls=kept["tool_calls"], invalid_tool_calls=kept["invalid_tool_calls"])
        asked = question.messages[-1]["content"]
        mended = mend_message(message, tool_schemas(question.tools), asked)
        counts = right.setdefault(question.category, {"of": 0, "without": 0, "with": 0})
        counts["of"] += 1
        counts["without"] += is_right(question, message)
        counts["with"] += is_right(question, mended)
    total = {key: sum(counts[key] for counts in right.values()) for key in ("of", "without", "with")}
    return {
        category: {
            arm: {"right": counts[arm], "of": counts["of"], "interval": wilson(counts[arm], counts["of"])} for arm in ("without", "with")
        }
        for category, counts in {**right, "all": total}.items()
    }


def is_right(question: Question, message: AIMessage) -> bool:
    if question.category == "irrelevance":
        return not message.tool_calls
    if len(message.tool_calls) != 1:
        return False
    call = message.tool_calls[0]
    by_name = {tool["function"]["name"]: tool["function"]["parameters"] for tool in question.tools}
    return any(
        name == call["name"] and arguments_match(call["args"], accepted, by_name[name])
        for answer in question.answers
        for name, accepted in answer.items()
    )


def arguments_match(given: Mapping[str, Any], accepted: Mapping[str, list[Any]], schema: Mapping[str, Any]) -> bool:
    """The leaderboard's rule: nothing unknown, nothing missing that must be there, each value of the right type and accepted."""
    if any(name not in accepted for name in given) or any(name not in given for name in schema.get("required", ())):
        return False
    if any(name not in given and "" not in values for name, values in accepted.items()):
        return False
    return all(value_matches(value, accepted[name], schema["properties"][name].get("type", "string")) for name, value in given.items())


def value_matches(value: Any, accepted: Sequence[Any], kind: str) -> bool:
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    expected = {"integer": int, "number": float, "string": str, "boolean": bool, "array": list, "object": dict}.get(kind, object)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool and expected is not object):
        return False
    if isinstance(value, dict):
        return any(isinstance(option, dict) and dictionary_matches(value, option) for option in accepted)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return any(
            isinstance(option, list) and len(option) == len(value) and all(map(dictionary_matches, value, option)) for option in accepted
        )
    return any(normal(value) == normal(option) for option in accepted)


def dictionary_matches(value: Mapping[str, Any], accepted: Mapping[str, Any]) -> bool:
    if any(key not in accepted for key in value):
        return False
    if any(key not in value and "" not in options for key, options in accepted.items()):
        return False
    return all(any(normal(item) == normal(option) for option in accepted[key]) for key, item in value.items())


def normal(value: Any) -> Any:
    """Text without case, blanks and the punctuation the leaderboard ignores."""
    if isinstance(value, str):
        return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')
    if isinstance(value, list | tuple):
        return [normal(item) for item in value]
    return value


def wilson(right: int, of: int, z: float = 1.96) -> list[float]:
    """95 % confidence interval of a share."""
    share = right / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return [max(0.0, round(centre - half, 3)), min(1.0, round(centre + half, 3))]


def print_table(report: Mapping[str, Any]) -> None:
    print(f"{'category':<12} {'without the layer':>26} {'with the layer':>26}")
    for category, arms in report.items():
        cells = []
        for arm in ("without", "with"):
            low, high = arms[arm]["interval"]
            cells.append(f"{arms[arm]['right']:>3}/{arms[arm]['of']} = {arms[arm]['right'] / arms[arm]['of']:.0%} ({low:.0%}–{high:.0%})")
        print(f"{category:<12} {cells[0]:>26} {cells[1]:>26}")


if __name__ == "__main__":
    main()
