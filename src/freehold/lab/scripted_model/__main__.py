"""`python -m freehold.lab.scripted_model`: serve a script until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from freehold.core.errors import FreeholdError
from freehold.lab.scripted_model import ECHO_AGENT, load, serving


async def _serve(arguments: argparse.Namespace) -> None:
    script = load(arguments.script) if arguments.script else ECHO_AGENT
    async with serving(script, host=arguments.host, port=arguments.port) as model:
        sys.stdout.write(f"{model.base_url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m freehold.lab.scripted_model", description="Serve scripted answers with the OpenAI API."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port; the URL is printed")
    parser.add_argument("--script", type=Path, help="TOML file of rules (default: the echo agent)")
    try:
        asyncio.run(_serve(parser.parse_args()))
    except FreeholdError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
