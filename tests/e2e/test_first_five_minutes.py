"""What a new user does first, on the real llama-server with the real default model."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import psutil
import pytest
from langgraph_sdk import get_client
from openai import OpenAI
from tests.e2e.conftest import Stack

# The first one may have to build llama.cpp and fetch the model.
pytestmark = pytest.mark.timeout(2400)

NOTES = """# Greenhouse manual

The valve of bed seven is opened with the copper key number 4471.
The night temperature of the orchid room is 17.5 degrees.
"""


def test_a_calculation_is_answered_through_a_tool_call_and_a_follow_up_remembers(stack: Stack) -> None:
    first = stack.json("ask", "What is 42 * 17? Use the calculator.", "--thread", "sum")
    assert "714" in first["answer"]
    assert [call["name"] for call in first["tool_calls"]] == ["calculate"]
    assert first["usage"]["output_tokens"] > 0
    second = stack.json("ask", "Divide that by 3.", "--thread", "sum")
    assert "238" in second["answer"]
    assert (second["thread_id"], second["run_id"]) != (first["run_id"], first["run_id"])


def test_an_ingested_document_is_found_and_cited(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "manual.md").write_text(NOTES)
    assert stack.json("ingest", str(tmp_path))["added"]
    found = stack.json("search", "Which key opens the valve of bed seven?")
    assert "4471" in json.dumps(found)
    done = stack.json("ask", "Which key opens the valve of bed seven? Look it up in my documents.")
    assert "4471" in done["answer"]
    assert [call["name"] for call in done["tool_calls"]] == ["search_knowledge_base"]
    assert "manual.md" in done["answer"]
    assert any(source["source"].endswith("manual.md") for source in done["sources"])


def test_nothing_relevant_is_said_plainly(stack: Stack) -> None:
    found = stack.run("search", "the orbital period of the third moon of a planet nobody has named")
    assert "nothing" in (found.stdout + found.stderr).lower()


def test_plain_chat_answers_with_any_thread_name(stack: Stack) -> None:
    response = httpx.post(f"{stack.url}/chat", json={"message": "Say hello.", "thread_id": "test-1"}, timeout=300)
    assert response.status_code == 200
    assert response.json()["thread_id"] == "test-1"
    assert response.json()["response"]


async def test_the_langgraph_sdk_streams_tokens_of_the_shipped_agent(stack: Stack) -> None:
    async with get_client(url=stack.url) as client:
        thread = await client.threads.create()
        question = {"messages": [{"role": "user", "content": "Count from one to five in words."}]}
        pieces = [
            part.data[0]["content"]
            async for part in client.runs.stream(thread["thread_id"], "assistant", input=question, stream_mode="messages-tuple")
            if part.event == "messages" and part.data[0]["type"] == "AIMessageChunk"
        ]
        assert len(pieces) > 3
        state = await client.threads.get_state(thread["thread_id"])
        assert "".join(pieces) == state["values"]["messages"][-1]["content"]


def test_the_openai_client_talks_to_the_agent(stack: Stack) -> None:
    question = [{"role": "user", "content": "What is 6 * 7? Use the calculator."}]
    with OpenAI(base_url=f"{stack.url}/v1", api_key="none", timeout=300) as client:
        assert [model.id for model in client.models.list()] == ["assistant"]
        whole = client.chat.completions.create(model="assistant", messages=question)
        assert "42" in (whole.choices[0].message.content or "")
        with client.chat.completions.create(model="assistant", messages=question, stream=True) as streamed:
            assert "42" in "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)


def test_every_service_is_well_and_says_so(stack: Stack) -> None:
    services = {service["name"]: service["state"] for service in stack.json("status")["services"]}
    assert services == {
        "postgres": "healthy",
        "valkey": "healthy",
        "model": "healthy",
        "migrate": "done",
        "server": "healthy",
        "worker": "healthy",
    }


def test_down_leaves_no_process_and_up_again_has_the_data(stack: Stack) -> None:
    stack.run("down")
    mine = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(stack.folder) in part for part in process.info["cmdline"] or ())
    ]
    assert mine == []
    assert stack.run("ask", "hello", check=False).returncode == 5
    stack.up()
    assert any(entry["source"].endswith("manual.md") for entry in stack.json("knowledge", "list"))
