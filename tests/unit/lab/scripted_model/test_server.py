from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest

from freehold.core.errors import Unhealthy
from freehold.lab.scripted_model import Call, Rule, Script, ScriptedModel, serving

TOOLS: list[openai.types.chat.ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {"name": "calculate", "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}}},
    }
]


@pytest.fixture
async def client(scripted_model: ScriptedModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=scripted_model.base_url, api_key="none", max_retries=0, timeout=10) as client:
        yield client


async def say(client: openai.AsyncOpenAI, text: str = "hello", **more: object) -> openai.types.chat.ChatCompletion:
    return await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": text}], **more)  # type: ignore[call-overload, no-any-return]


async def stream(client: openai.AsyncOpenAI, text: str = "hello", **more: object) -> list[openai.types.chat.ChatCompletionChunk]:
    messages = [{"role": "user", "content": text}]
    chunks = await client.chat.completions.create(model="scripted", messages=messages, stream=True, **more)  # type: ignore[call-overload]
    return [chunk async for chunk in chunks]


def said(chunks: list[openai.types.chat.ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def test_it_answers_whole_and_counts_tokens(client: openai.AsyncOpenAI) -> None:
    answer = await say(client, "good morning")
    assert answer.choices[0].message.content == "You said: good morning"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)


async def test_it_streams_the_same_text_in_pieces(client: openai.AsyncOpenAI) -> None:
    chunks = await stream(client, "good   morning\n\nall", stream_options={"include_usage": True})
    assert said(chunks) == "You said: good   morning\n\nall"
    assert len([chunk for chunk in chunks if said([chunk])]) == 5
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 5


async def test_usage_is_streamed_only_when_asked_for(client: openai.AsyncOpenAI) -> None:
    assert [chunk.usage for chunk in await stream(client) if chunk.usage] == []


async def test_ids_are_unique_even_across_servers(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    async with serving() as other, openai.AsyncOpenAI(base_url=other.base_url, api_key="none") as elsewhere:
        ids = [(await say(c)).id for c in (client, client, elsewhere, elsewhere)]
    scripted_model.use(scripted_model.script)
    ids.append((await say(client)).id)
    assert len(set(ids)) == 5


async def test_a_calculation_becomes_a_tool_call(client: openai.AsyncOpenAI) -> None:
    choice = (await say(client, "What is 42 * 17?", tools=TOOLS)).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = [*(choice.message.tool_calls or [])]
    assert isinstance(call, openai.types.chat.ChatCompletionMessageFunctionToolCall)
    assert (call.function.name, json.loads(call.function.arguments)) == ("calculate", {"expression": "42 * 17"})


async def test_tool_calls_are_streamed_as_deltas(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    calls = (Call(name="a", arguments={"text": "long enough for several pieces"}), Call(name="b"))
    scripted_model.use(Script(rules=(Rule(text="Let me see.", calls=calls),)))
    chunks = await stream(client)
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or ()]
    texts = ["".join(d.function.arguments or "" for d in deltas if d.function and d.index == index) for index in (0, 1)]
    assert said(chunks) == "Let me see."
    assert [json.loads(text) for text in texts] == [{"text": "long enough for several pieces"}, {}]
    assert len({delta.id for delta in deltas if delta.id}) == 2
    assert len(deltas) > 4 and chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("written_as", "text"),
    [
        ("json", '{"name":"add","arguments":{"a":1}}'),
        ("fenced", '```json\n{"name":"add","arguments":{"a":1}}\n```'),
        ("single_quotes", "{'name': 'add', 'arguments': {'a': 1}}"),
        ("tags", '<tool_call>\n{"name":"add","arguments":{"a":1}}\n</tool_call>'),
    ],
)
async def test_calls_can_be_written_into_the_text(
    client: openai.AsyncOpenAI, scripted_model: ScriptedModel, written_as: str, text: str
) -> None:
    rule = Rule.model_validate({"calls": [{"name": "add", "arguments": {"a": 1}}], "written_as": written_as})
    scripted_model.use(Script(rules=(rule,)))
    message = (await say(client)).choices[0].message
    assert (message.content, message.tool_calls) == (text, None)
    assert said(await stream(client)) == text


async def test_arguments_may_be_broken_on_purpose(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(calls=(Call(name="add", arguments='{"a": '),)),)))
    (call,) = [*((await say(client)).choices[0].message.tool_calls or [])]
    assert isinstance(call, openai.types.chat.ChatCompletionMessageFunctionToolCall) and call.function.arguments == '{"a": '


async def test_the_token_limit_of_the_request_cuts_the_answer(client: openai.AsyncOpenAI) -> None:
    choice = (await say(client, "one two three four", max_tokens=3)).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("You said: one", "length")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        ("500", openai.InternalServerError, "internal server error"),
        ("503", openai.InternalServerError, "Loading model"),
        ("429", openai.RateLimitError, "too many requests"),
        ("context_length", openai.BadRequestError, "maximum context length is"),
        ("context_length_llama", openai.BadRequestError, "exceeds the available context size"),
    ],
)
async def test_a_scripted_refusal_has_its_status(
    client: openai.AsyncOpenAI,
    scripted_model: ScriptedModel,
    streaming: bool,
    failure: str,
    error: type[openai.APIStatusError],
    message: str,
) -> None:
    scripted_model.use(Script(rules=(Rule.model_validate({"failure": failure, "times": 1}), Rule(text="well again"))))
    with pytest.raises(error, match=message):
        await (stream if streaming else say)(client)
    assert (await say(client)).choices[0].message.content == "well again"


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_cut_connection_is_a_broken_body(client: openai.AsyncOpenAI, scripted_model: ScriptedModel, streaming: bool) -> None:
    scripted_model.use(Script(rules=(Rule(text="one two three", failure="cut", failure_after=2),)))
    with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
        await (stream if streaming else say)(client)


async def test_a_cut_stream_sends_what_came_before(scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(text="one two three", failure="cut", failure_after=2),)))
    seen = b""
    async with (
        httpx.AsyncClient() as http,
        http.stream("POST", f"{scripted_model.base_url}/chat/completions", json={"stream": True}) as response,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            async for part in response.aiter_bytes():
                seen += part
    assert b"one" in seen and b"two" in seen and b"three" not in seen


@pytest.mark.parametrize("streaming", [False, True])
async def test_malformed_json_is_malformed(client: openai.AsyncOpenAI, scripted_model: ScriptedModel, streaming: bool) -> None:
    scripted_model.use(Script(rules=(Rule(text="hello", failure="malformed"),)))
    with pytest.raises((json.JSONDecodeError, openai.APIError)):
        await (stream if streaming else say)(client)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_hanging_model_is_silent_until_the_client_gives_up(
    client: openai.AsyncOpenAI, scripted_model: ScriptedModel, streaming: bool
) -> None:
    scripted_model.use(Script(rules=(Rule(text="never", failure="hang"),)))
    impatient = client.with_options(timeout=0.3)
    with pytest.raises((openai.APITimeoutError, httpx.ReadTimeout)):
        await (stream if streaming else say)(impatient)


async def test_a_new_script_ends_hanging_requests(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(failure="hang"),)))
    waiting = asyncio.create_task(stream(client))
    while not scripted_model.received:
        await asyncio.sleep(0.01)
    scripted_model.use(Script())
    with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
        await waiting


async def test_a_prompt_over_the_context_is_refused(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(context_tokens=3, rules=(Rule(text="ok"),)))
    assert (await say(client, "one two three")).choices[0].message.content == "ok"
    with pytest.raises(openai.BadRequestError, match="maximum context length is 3 tokens"):
        await say(client, "one two three four")


async def test_a_request_without_a_rule_is_refused(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(user="bye"),)))
    with pytest.raises(openai.BadRequestError, match="no rule of the script matches"):
        await say(client)


async def test_it_tells_what_it_received(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    await say(client, "first", temperature=0.5)
    await say(client, "second")
    async with httpx.AsyncClient() as http:
        told = (await http.get(f"{scripted_model.url}/requests")).json()
    assert told["count"] == 2 and told["requests"][0]["temperature"] == 0.5
    assert scripted_model.received[1].body["messages"][0]["content"] == "second"


async def test_the_pace_spreads_tokens_over_time(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    # A lower bound only: a busy machine makes it slower, nothing makes it faster.
    scripted_model.use(Script(tokens_per_second=40, ttft_seconds=0.1, rules=(Rule(text="a b c d e"),)))
    started = asyncio.get_running_loop().time()
    assert said(await stream(client)) == "a b c d e"
    assert asyncio.get_running_loop().time() - started >= 0.1 + 4 / 40


async def test_health_and_models_answer(client: openai.AsyncOpenAI, scripted_model: ScriptedModel) -> None:
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{scripted_model.url}/health")).json() == {"status": "ok"}
    assert [model.id async for model in client.models.list()] == ["scripted"]


async def test_a_taken_port_is_one_error(scripted_model: ScriptedModel) -> None:
    with pytest.raises(Unhealthy, match="cannot be used"):
        async with serving(port=int(scripted_model.url.rsplit(":", 1)[1])):
            pass


def test_it_runs_from_the_command_line(tmp_path: Path) -> None:
    script = tmp_path / "answers.toml"
    script.write_text('[[rules]]\ntext = "from a file"\n')
    command = [sys.executable, "-m", "freehold.lab.scripted_model", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        answer = httpx.post(f"{url}/chat/completions", json={"messages": []}).json()
        process.terminate()
    assert answer["choices"][0]["message"]["content"] == "from a file"
