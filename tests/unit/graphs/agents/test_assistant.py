"""The shipped agent against a scripted model: it calculates, remembers, cites, and survives everything a model server does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from prometheus_client import REGISTRY

from freehold.config.model import ModelSection
from freehold.config.settings import LimitsSection
from freehold.core.caller import Caller
from freehold.graphs.agents.assistant import build
from freehold.graphs.agents.model import create_chat_model
from freehold.lab.scripted_model import Call, Rule, Script, ScriptedModel
from freehold.rag.retrieve import Passage
from freehold.tools import calculate, current_time, search_knowledge_base
from freehold.tools.base import guard

LEAVE = Passage(uuid4(), uuid4(), "handbook.md", None, "Leave", "Parental leave is 16 weeks at full pay.", 0.71)
SUM = Call(name="calculate", arguments={"expression": "42 * 17"})


class Agent:
    """The agent with an in-memory thread."""

    def __init__(self, url: str, *, passages: Sequence[Passage] = (), timeout: float = 5, context: int = 8192, **limits: int) -> None:
        async def search(query: str, caller: Caller) -> Sequence[Passage]:
            return passages

        section = LimitsSection(**limits)  # type: ignore[arg-type]
        self.model = create_chat_model(ModelSection(timeout_seconds=timeout), section, base_url=url, api_key=None, name="scripted")
        tools = [guard(tool, timeout_seconds=5) for tool in (calculate.tool(), current_time.tool(), search_knowledge_base.tool(search))]
        self.graph = build(self.model, tools, section, context_tokens=context).copy(update={"checkpointer": InMemorySaver()})
        self.config: Any = {"configurable": {"thread_id": "1"}}
        self.streamed: list[AIMessageChunk] = []

    async def ask(self, question: str) -> list[AnyMessage]:
        """Messages of the turn; token chunks are in `streamed`."""
        before = len((await self.graph.aget_state(self.config)).values.get("messages", []))
        self.streamed = []
        async for chunk, _ in self.graph.astream({"messages": [("user", question)]}, self.config, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk):
                self.streamed.append(chunk)
        messages: list[AnyMessage] = (await self.graph.aget_state(self.config)).values["messages"]
        return messages[before:]

    @property
    def shown(self) -> str:
        return "".join(chunk.text for chunk in self.streamed)


def calls(messages: list[AnyMessage]) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]


@pytest.fixture
async def make_agent(scripted_model: ScriptedModel) -> AsyncIterator[Callable[..., Agent]]:
    """Makes agents on the scripted model, or on another URL, and closes their connections."""
    made: list[Agent] = []

    def make(url: str = scripted_model.base_url, **options: Any) -> Agent:
        made.append(Agent(url, **options))
        return made[-1]

    yield make
    for agent in made:
        await agent.model.aclose()


@pytest.fixture
def agent(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent()


async def test_a_calculation_goes_through_the_tool_and_a_follow_up_remembers(agent: Agent) -> None:
    first = await agent.ask("What is 42 * 17")
    assert calls(first) == [("calculate", {"expression": "42 * 17"})]
    assert first[-1].text == "The result is 42 * 17 = 714."
    second = await agent.ask("Divide that by 3")
    assert calls(second) == [("calculate", {"expression": "714 / 3"})]
    assert "238" in second[-1].text


@pytest.mark.parametrize("form", ["json", "fenced", "single_quotes", "tags"])
async def test_a_call_written_as_text_runs_is_marked_and_never_shown(agent: Agent, scripted_model: ScriptedModel, form: Any) -> None:
    scripted_model.use(Script(rules=(Rule(tool_results=1, text="It is {tool_result}."), Rule(calls=(SUM,), written_as=form))))
    messages = await agent.ask("What is 42 * 17? Use the calculator.")
    called = messages[1]
    assert isinstance(called, AIMessage)
    assert calls(messages) == [("calculate", {"expression": "42 * 17"})]
    assert called.additional_kwargs["repaired"].keys() == {called.tool_calls[0]["id"]}
    assert called.content == ""
    assert called.response_metadata["finish_reason"] == "tool_calls"
    assert agent.shown == "It is 42 * 17 = 714."
    assert {chunk.id for chunk in agent.streamed} == {called.id, messages[-1].id}


async def test_a_call_the_user_asked_to_see_is_shown_and_not_run(agent: Agent, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(calls=(SUM,), written_as="fenced"),)))
    messages = await agent.ask("Show me an example of a tool call as JSON.")
    assert calls(messages) == []
    assert "```" in messages[-1].text
    assert agent.shown == messages[-1].text


async def test_well_written_calls_are_not_marked(agent: Agent) -> None:
    called = (await agent.ask("What is 42 * 17"))[1]
    assert "repaired" not in called.additional_kwargs


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Call(name="calculate", arguments={}), "calculate was not run: expression: field required"),
        (Call(name="calculate", arguments='{"expression": "42 *'), "the arguments are not a JSON object"),
        (Call(name="web_search", arguments={"query": "x"}), "web_search is not a valid tool"),
        (Call(name="calculate", arguments={"expression": "9**9**9"}), "calculate failed: the result of '9**9**9' is too large"),
    ],
)
async def test_a_call_that_cannot_run_is_answered_and_the_model_may_try_again(
    agent: Agent, scripted_model: ScriptedModel, call: Call, answer: str
) -> None:
    rules = (Rule(tool_results=0, calls=(call,)), Rule(tool_results=1, calls=(SUM,)), Rule(text="It is {tool_result}."))
    scripted_model.use(Script(rules=rules))
    messages = await agent.ask("Calculate.")
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert answer in messages[2].text
    assert messages[2].status == "error"  # type: ignore[union-attr]
    assert messages[-1].text == "It is 42 * 17 = 714."


async def test_calls_of_one_step_run_in_parallel(agent: Agent, scripted_model: ScriptedModel) -> None:
    two = (SUM, Call(name="current_time", arguments={}))
    scripted_model.use(Script(rules=(Rule(tool_results=0, calls=two), Rule(text="It is 714."))))
    assert [message.type for message in await agent.ask("Both.")] == ["human", "ai", "tool", "tool", "ai"]


async def test_an_answer_from_documents_is_cited(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    rules = (Rule(tool_results=0, calls=(Call(name="search_knowledge_base", arguments={"query": "leave"}),)), Rule(text="16 weeks [1]."))
    scripted_model.use(Script(rules=rules))
    messages = await make_agent(passages=[LEAVE]).ask("Leave?")
    assert messages[-1].text == "16 weeks [Source: handbook.md]."
    assert [source["chunk_id"] for source in messages[-1].additional_kwargs["sources"]] == [str(LEAVE.chunk_id)]
    assert len([message for message in messages if message.id == messages[-1].id]) == 1


async def test_an_empty_knowledge_base_is_said_to_hold_nothing(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    rules = (Rule(tool_results=0, calls=(Call(name="search_knowledge_base", arguments={"query": "leave"}),)), Rule(text="It is 9 weeks."))
    scripted_model.use(Script(rules=rules))
    messages = await make_agent().ask("Leave?")
    assert messages[-1].text.startswith("I found nothing relevant to this in your documents.")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (Rule(failure="500"), "model_error"),
        (Rule(failure="503"), "model_overloaded"),
        (Rule(failure="429"), "model_overloaded"),
        (Rule(failure="context_length"), "context_overflow"),
        (Rule(failure="context_length_llama"), "context_overflow"),
        (Rule(text="one two three four", failure="cut", failure_after=2), "model_unavailable"),
        (Rule(text="one two three four", failure="hang", failure_after=0), "model_timeout"),
        (Rule(text="one two three four", failure="hang", failure_after=2), "model_timeout"),
        (Rule(text=""), "empty_answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.failure} {value.failure_after}",
)
async def test_a_failing_model_becomes_a_sentence_and_the_thread_goes_on(
    make_agent: Callable[..., Agent], scripted_model: ScriptedModel, rule: Rule, code: str
) -> None:
    agent = make_agent(timeout=0.5)
    scripted_model.use(Script(rules=(rule,)))
    answer = (await agent.ask("Hello?"))[-1]
    assert isinstance(answer, AIMessage)
    assert answer.response_metadata["error_code"] == code
    assert answer.text.endswith(".")
    scripted_model.use(Script(rules=(Rule(text="Here I am."),)))
    assert (await agent.ask("And now?"))[-1].text == "Here I am."


async def test_a_model_server_that_is_down_becomes_a_sentence(make_agent: Callable[..., Agent]) -> None:
    answer = (await make_agent("http://127.0.0.1:9/v1").ask("Hello?"))[-1]
    assert answer.response_metadata == {"finish_reason": "error", "error_code": "model_unavailable"}


async def test_a_moment_of_overload_is_waited_out(agent: Agent, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(failure="503", times=1), Rule(text="Here I am."))))
    assert (await agent.ask("Hello?"))[-1].text == "Here I am."


async def test_a_failure_while_answering_about_a_tool_keeps_the_thread_valid(agent: Agent, scripted_model: ScriptedModel) -> None:
    scripted_model.use(Script(rules=(Rule(tool_results=0, calls=(SUM,)), Rule(failure="500"))))
    messages = await agent.ask("Calculate.")
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    scripted_model.use(Script(rules=(Rule(text="Fine."),)))
    assert (await agent.ask("Still there?"))[-1].text == "Fine."


async def test_a_long_conversation_is_cut_to_what_the_model_reads(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    agent = make_agent(context=2500, output_tokens=256)
    scripted_model.use(Script(context_tokens=1500, rules=(Rule(text="Noted."),)))
    for number in range(8):
        assert (await agent.ask(f"Remember {number}: " + "word " * 150))[-1].text == "Noted."
    sent = scripted_model.received[-1].body["messages"]
    assert sent[0]["role"] == "system"
    assert sent[1]["role"] == "user"
    assert "Remember 7" in sent[-1]["content"]
    assert len(sent) < 16


async def test_when_the_estimate_was_too_low_half_is_tried(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    agent = make_agent(context=8192)
    scripted_model.use(Script(context_tokens=1200, rules=(Rule(text="Noted."),)))
    answers = [(await agent.ask(f"Remember {number}: " + "word " * 400))[-1].text for number in range(10)]
    assert "Noted." in answers
    assert answers[0] == "Noted."


async def test_a_run_that_goes_in_circles_ends_in_a_sentence(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    agent = make_agent(model_calls=3, tool_calls=50)
    scripted_model.use(Script(rules=(Rule(calls=(SUM,)),)))
    messages = await agent.ask("Calculate for ever.")
    assert messages[-1].text == "I stopped after 3 steps without reaching an answer. Please ask for something smaller."
    assert messages[-1].response_metadata["error_code"] == "model_call_limit"
    assert len(calls(messages)) == 3


async def test_tool_calls_over_the_limit_are_answered_and_not_run(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    agent = make_agent(model_calls=5, tool_calls=1)
    scripted_model.use(Script(rules=(Rule(tool_results=0, calls=(SUM,)), Rule(tool_results=1, calls=(SUM,)), Rule(text="It is 714."))))
    messages = await agent.ask("Calculate twice.")
    assert [message.status for message in messages if message.type == "tool"] == ["success", "error"]  # type: ignore[union-attr]
    assert messages[-1].text == "It is 714."


async def test_the_prompt_begins_the_same_in_every_conversation(make_agent: Callable[..., Agent], scripted_model: ScriptedModel) -> None:
    for _ in range(2):
        await make_agent().ask("Hello")
    first, second = (received.body for received in scripted_model.received)
    assert first["messages"] == second["messages"]
    assert first["tools"] == second["tools"]


async def test_model_calls_are_measured(agent: Agent) -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": "scripted"}) or 0

    before = {
        name: value(name) for name in ("llm_tokens_generated_total", "llm_tokens_input_total", "llm_inference_duration_seconds_count")
    }
    await agent.ask("Hello")
    assert value("llm_tokens_generated_total") > before["llm_tokens_generated_total"]
    assert value("llm_tokens_input_total") > before["llm_tokens_input_total"]
    assert value("llm_inference_duration_seconds_count") == before["llm_inference_duration_seconds_count"] + 1
    assert value("llm_active_requests") == 0


async def test_without_streaming_calls_are_read_as_well(scripted_model: ScriptedModel) -> None:
    model = create_chat_model(ModelSection(), LimitsSection(), base_url=scripted_model.base_url, api_key=None, name="scripted")
    scripted_model.use(Script(rules=(Rule(calls=(SUM,), written_as="fenced"),)))
    answer = await model.bind_tools([calculate.tool()]).ainvoke("What is 42 * 17?")
    await model.aclose()
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("calculate", {"expression": "42 * 17"})]
    assert "repaired" in answer.additional_kwargs
