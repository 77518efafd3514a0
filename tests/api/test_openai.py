"""The OpenAI endpoint, driven by OpenAI's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from langgraph_sdk.client import LangGraphClient
from openai import AsyncOpenAI


@pytest.fixture(scope="module")
async def client(server_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server_url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def ask(text: str) -> Any:
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


async def test_agents_that_talk_are_models(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["talker"]
    assert (await client.models.retrieve("talker")).owned_by == "freehold"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("echo")


async def test_a_completion_is_the_agents_answer_with_its_usage(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="talker", messages=ask("one two three"), temperature=0.5, max_tokens=50, user="u"
    )
    assert completion.choices[0].message.content == "one two three"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (2, 3, 5)


async def test_usage_sums_every_model_call_of_the_turn(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="talker", messages=ask("calculate"))
    assert completion.choices[0].message.content == "Done: 714"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 2


async def test_a_streamed_completion_joins_to_the_same_answer(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="talker", messages=ask("one two three"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_conversation_so_far_is_the_clients(client: AsyncOpenAI) -> None:
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "one"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    completion = await client.chat.completions.create(model="talker", messages=messages)
    assert completion.choices[0].message.content == "two"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 5


async def test_an_unknown_model_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="tolker"):
        await client.chat.completions.create(model="tolker", messages=ask("x"))


TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"tools": [TOOL]}, '"tools" is not supported'),
    ({"functions": [TOOL["function"]]}, '"functions" is not supported'),
    ({"n": 2}, '"n" other than 1'),
    ({"logprobs": True}, '"logprobs" is not supported'),
    ({"logit_bias": {"1": 1}}, '"logit_bias" is not supported'),
    ({"response_format": {"type": "json_object"}}, '"response_format" other than text'),
    ({"frequency_penalty": 1.0}, "are not supported"),
    ({"tool_choice": "required"}, '"tool_choice" is not supported'),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"model": "echo"}, 'keeps no "messages"'),
)


@pytest.mark.parametrize(("changed", "message"), REFUSED)
async def test_what_we_do_not_do_is_refused_by_name_in_openais_shape(
    http: httpx.AsyncClient, changed: dict[str, Any], message: str
) -> None:
    response = await http.post("/v1/chat/completions", json={"model": "talker", "messages": ask("x"), **changed})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert message in error["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_the_run(sdk: LangGraphClient, http: httpx.AsyncClient, stream: bool) -> None:
    mark = str(uuid4())
    messages = [{"role": "user", "content": mark}, {"role": "user", "content": "think for ever"}]
    asking = asyncio.create_task(http.post("/v1/chat/completions", json={"model": "talker", "messages": messages, "stream": stream}))
    while not (found := [run for run in await _talker_runs(sdk) if run["kwargs"]["input"]["messages"][0]["content"] == mark]):
        await asyncio.sleep(0.02)
    asking.cancel()
    (run,) = found
    while run["status"] in {"pending", "running"}:
        await asyncio.sleep(0.02)
        run = await sdk.runs.get(run["thread_id"], run["run_id"])
    assert run["status"] == "interrupted"


async def _talker_runs(sdk: LangGraphClient) -> list[Any]:
    threads = await sdk.threads.search(metadata={"graph_id": "talker"}, status="busy")
    return [run for thread in threads for run in await sdk.runs.list(thread["thread_id"])]
