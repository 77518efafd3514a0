"""A model server whose answers are written down beforehand: tests and benchmarks get determinism through a real HTTP endpoint.

    async with serving(Script(rules=(Rule(text="hello"),))) as model:
        client = AsyncOpenAI(base_url=model.base_url, api_key="none")

`python -m freehold.lab.scripted_model --port 8000 --script answers.toml` serves one from the command line.
"""

from __future__ import annotations

from freehold.lab.scripted_model.script import ECHO_AGENT, Call, Rule, Script, load
from freehold.lab.scripted_model.server import ScriptedModel, serving

__all__ = ["ECHO_AGENT", "Call", "Rule", "Script", "ScriptedModel", "load", "serving"]
