"""The checkpointer under real graphs: what is stored once, what is fenced, what continues, what is pruned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import psycopg
import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from tests.conftest import Database

from freehold.core.errors import Incompatible, LeaseLost, StorageUnavailable
from freehold.storage.checkpointer import PostgresSaver, write
from freehold.storage.pool import Pool, create_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=10) as pool:
        yield pool


def conversation(saver: Any, answer: Any = None) -> Any:
    """An unmodified MessagesState graph: one node that answers."""

    async def respond(state: MessagesState) -> dict[str, Any]:
        return {"messages": [answer(state) if answer else AIMessage(f"answer {len(state['messages'])} " + "x" * 900)]}

    return StateGraph(MessagesState).add_node(respond).add_edge(START, "respond").compile(checkpointer=saver)


def on(thread: str, **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, **more}}


def extend(state: list[str] | None, writes: list[list[str]]) -> list[str]:
    return [*(state or []), *(item for write in writes for item in write)]


async def turn(graph: Any, thread: str, number: int) -> dict[str, Any]:
    return await graph.ainvoke({"messages": [HumanMessage(f"question {number} " + "y" * 900)]}, on(thread))


async def value(pool: Pool, query: str, *arguments: Any) -> Any:
    async with pool.connection() as conn:
        row = await (await conn.execute(query.encode(), arguments)).fetchone()
        assert row is not None
        return next(iter(row.values()))


async def values(pool: Pool, query: str) -> list[Any]:
    async with pool.connection() as conn:
        return [next(iter(row.values())) for row in await (await conn.execute(query.encode())).fetchall()]


async def test_a_conversation_reads_back_as_it_was_and_each_message_is_stored_once(pool: Pool) -> None:
    last: dict[str, Any] = {}
    for number in range(30):
        last = await turn(conversation(PostgresSaver(pool)), "t", number)  # a saver each time, as every run has its own
    state = await conversation(PostgresSaver(pool)).aget_state(on("t"))
    assert state.values == last
    assert len(last["messages"]) == 60
    # Input messages have no id yet where the input is stored: they stand there beside their final form, with one content.
    assert await value(pool, "SELECT count(*) FROM freehold.thread_messages WHERE length(message) > 900") == 60
    distinct = "SELECT count(*) FROM (SELECT DISTINCT message FROM freehold.thread_messages) AS each"
    assert await value(pool, distinct) == await value(pool, "SELECT count(*) FROM freehold.thread_messages")


def in_dicts(saver: Any) -> Any:
    """A graph that answers as many do, with `{"role": …, "content": …}`."""

    async def respond(state: MessagesState) -> dict[str, Any]:
        return {"messages": [{"role": "assistant", "content": f"answer {len(state['messages'])} " + "x" * 900}]}

    return StateGraph(MessagesState).add_node(respond).add_edge(START, "respond").compile(checkpointer=saver)


async def test_messages_given_and_answered_as_dicts_store_their_content_once(pool: Pool) -> None:
    given: list[Any] = []
    for number in range(30):
        given.append({"role": "user", "content": f"question {number} " + "y" * 900})
        last = await in_dicts(PostgresSaver(pool)).ainvoke({"messages": [given[-1]]}, on("t"))
    graph = in_dicts(PostgresSaver(pool))
    assert (await graph.aget_state(on("t"))).values == last
    assert await value(pool, "SELECT count(*) FROM freehold.thread_messages WHERE length(message) > 900") == 60
    assert await value(pool, "SELECT count(*) FROM freehold.thread_blobs") == 0
    inputs = [s.tasks[0].result async for s in graph.aget_state_history(on("t")) if (s.metadata or {})["source"] == "input"]
    assert inputs[::-1] == [{"messages": [message]} for message in given]
    # A conversation is one range of positions, whatever stands between its messages.
    sizes = [len(state) for state in await values(pool, "SELECT state FROM freehold.thread_checkpoints ORDER BY checkpoint_id")]
    assert max(sizes[-3:]) < max(sizes[3:6]) + 50
    await PostgresSaver(pool).aprune(["t"])
    assert (await in_dicts(PostgresSaver(pool)).aget_state(on("t"))).values == last
    last = await in_dicts(PostgresSaver(pool)).ainvoke({"messages": [given[0]]}, on("t"))
    assert (await in_dicts(PostgresSaver(pool)).aget_state(on("t"))).values == last


async def test_a_content_of_several_parts_is_stored_once_too(pool: Pool) -> None:
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBOR" * 2000}},
    ]
    await conversation(PostgresSaver(pool)).ainvoke({"messages": [{"role": "user", "content": content}]}, on("t"))
    state = await conversation(PostgresSaver(pool)).aget_state(on("t"))
    assert state.values["messages"][0].content == content
    assert await value(pool, "SELECT count(*) FROM freehold.thread_messages WHERE length(message) > 9000") == 1


async def test_a_content_its_message_no_longer_has_stays_with_the_input_that_had_it(pool: Pool) -> None:
    def shorten(state: MessagesState) -> dict[str, Any]:
        return {"messages": [HumanMessage("short", id=state["messages"][0].id), {"role": "assistant", "content": "z" * 500}]}

    graph = StateGraph(MessagesState).add_node(shorten).add_edge(START, "shorten").compile(checkpointer=PostgresSaver(pool))
    await graph.ainvoke({"messages": [{"role": "user", "content": "y" * 500}]}, on("t"))
    again = StateGraph(MessagesState).add_node(shorten).add_edge(START, "shorten").compile(checkpointer=PostgresSaver(pool))
    history = [s.values.get("messages", []) async for s in again.aget_state_history(on("t"))]
    assert [[message.content for message in messages] for messages in history] == [["short", "z" * 500], ["y" * 500], []]


async def test_every_checkpoint_of_a_history_shows_the_messages_it_had(pool: Pool) -> None:
    graph, reference = conversation(PostgresSaver(pool)), conversation(InMemorySaver())
    for number in range(4):
        await turn(graph, "t", number)
        await turn(reference, "t", number)

    async def seen(of: Any) -> list[Any]:
        return [
            (s.metadata["step"], s.metadata["source"], s.next, [m.content for m in s.values.get("messages", [])])
            async for s in of.aget_state_history(on("t"))
        ]

    assert await seen(graph) == await seen(reference)


async def test_a_message_changed_in_place_is_stored_as_it_is_then(pool: Pool) -> None:
    def answer(state: MessagesState) -> AIMessage:
        state["messages"][0].content = "changed in place"
        state["messages"][-1].additional_kwargs.setdefault("notes", []).append(len(state["messages"]))
        return AIMessage("done")

    graph = conversation(PostgresSaver(pool), answer)
    for number in range(2):
        last = await turn(graph, "t", number)
        stored = (await conversation(PostgresSaver(pool)).aget_state(on("t"))).values
        assert stored == last
    assert stored["messages"][0].content == "changed in place"
    assert stored["messages"][2].additional_kwargs == {"notes": [3]}


async def test_removed_and_replaced_messages_leave_the_older_checkpoints_alone(pool: Pool) -> None:
    graph = conversation(PostgresSaver(pool))
    for number in range(3):
        last = await turn(graph, "t", number)
    before = (await graph.aget_state(on("t"))).config
    removed, replaced = last["messages"][1], last["messages"][2]
    await graph.aupdate_state(on("t"), {"messages": [RemoveMessage(removed.id), HumanMessage("other words", id=replaced.id)]})
    now = (await conversation(PostgresSaver(pool)).aget_state(on("t"))).values["messages"]
    assert [m.content for m in now] == [last["messages"][0].content, "other words", *(m.content for m in last["messages"][3:])]
    assert (await conversation(PostgresSaver(pool)).aget_state(before)).values == last


async def test_two_branches_of_a_thread_keep_their_own_messages(pool: Pool) -> None:
    graph = conversation(PostgresSaver(pool))
    await turn(graph, "t", 1)
    fork = (await graph.aget_state(on("t"))).config
    await turn(graph, "t", 2)
    left = (await graph.aget_state(on("t"))).config
    await graph.ainvoke({"messages": [HumanMessage("another way")]}, fork)
    right = (await graph.aget_state(on("t"))).config
    contents = {
        name: [m.content.split(" ")[0:2] for m in (await conversation(PostgresSaver(pool)).aget_state(config)).values["messages"]]
        for name, config in (("left", left), ("right", right))
    }
    assert contents["left"][2] == ["question", "2"]
    assert contents["right"][2] == ["another", "way"]


async def test_parallel_branches_and_large_values_come_back(pool: Pool) -> None:
    class State(TypedDict):
        found: Annotated[list[str], lambda a, b: sorted((a or []) + (b or []))]
        document: str

    graph = StateGraph(State)
    for name in "abcdefgh":
        graph.add_node(name, lambda state, name=name: {"found": [name]})
        graph.add_edge(START, name)
    compiled = graph.compile(checkpointer=PostgresSaver(pool))
    await compiled.ainvoke({"document": "d" * 100_000, "found": []}, on("t"))
    await compiled.aupdate_state(on("t"), {"found": ["z"]}, as_node="a")
    state = await graph.compile(checkpointer=PostgresSaver(pool)).aget_state(on("t"))
    assert state.values == {"document": "d" * 100_000, "found": [*"abcdefghz"]}
    # Though the input, the first task's write and three checkpoints have it.
    assert await value(pool, "SELECT count(*) FROM freehold.thread_blobs WHERE length(value) > 90000") == 1


async def test_an_interrupted_thread_is_resumed_by_another_saver(pool: Pool) -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {interrupt('what?')}")]}

    def build() -> Any:
        return StateGraph(MessagesState).add_node(ask).add_edge(START, "ask").compile(checkpointer=PostgresSaver(pool))

    await build().ainvoke({"messages": [("user", "hello")]}, on("t"))
    assert (await build().aget_state(on("t"))).tasks[0].interrupts[0].value == "what?"
    last = await build().ainvoke(Command(resume="yes"), on("t"))
    assert last["messages"][-1].content == "you said yes"
    assert (await build().aget_state(on("t"))).next == ()


async def test_a_claim_that_was_lost_stores_nothing(pool: Pool) -> None:
    saver = PostgresSaver(pool, fence=(uuid4(), 1))
    with pytest.raises(LeaseLost):
        await turn(conversation(saver), "t", 1)
    for table in ("thread_checkpoints", "thread_writes", "thread_messages"):
        assert await value(pool, f"SELECT count(*) FROM freehold.{table}") == 0


async def test_two_savers_that_store_on_one_thread_at_once_mix_nothing_up(pool: Pool) -> None:
    graphs = [conversation(PostgresSaver(pool)) for _ in range(4)]
    for graph in graphs:
        await graph.aget_state(on("t"))  # all of them believe the thread is empty
    ends = await asyncio.gather(*(turn(graph, "t", number) for number, graph in enumerate(graphs)))
    stored = {
        tuple(m.content for m in state.values.get("messages", []))
        async for state in conversation(PostgresSaver(pool)).aget_state_history(on("t"))
    }
    assert all(tuple(m.content for m in end["messages"]) in stored for end in ends)


async def test_a_thread_of_the_stock_saver_is_read_and_continued(database: Database) -> None:
    async with create_pool(database.owner_url, max_size=5) as pool:
        async with pool.connection() as conn:
            await conn.execute("DROP SCHEMA freehold CASCADE")  # a database without a server
        await PostgresSaver(pool).asetup()
        async with AsyncPostgresSaver.from_conn_string(database.owner_url) as stock:
            await stock.conn.execute("SET search_path TO public")  # type: ignore[union-attr]
            await stock.setup()
            for number in range(5):
                before = await turn(conversation(stock), "old", number)
        graph = conversation(PostgresSaver(pool))
        assert (await graph.aget_state(on("old"))).values == before
        after = await turn(graph, "old", 5)
        assert after["messages"][:10] == before["messages"]
        assert len(after["messages"]) == 12
        history = [s async for s in conversation(PostgresSaver(pool)).aget_state_history(on("old"))]
        assert [s.metadata["step"] for s in history] == list(range(16, -2, -1))
        await PostgresSaver(pool).adelete_thread("old")
        assert [s async for s in graph.aget_state_history(on("old"))] == []


async def test_a_servers_database_shows_no_thread_of_another_application(database: Database) -> None:
    async with create_pool(database.owner_url, max_size=5) as pool, AsyncPostgresSaver.from_conn_string(database.owner_url) as stock:
        await stock.conn.execute("SET search_path TO public")  # type: ignore[union-attr]
        await stock.setup()
        await turn(conversation(stock), "theirs", 1)
        assert (await conversation(PostgresSaver(pool)).aget_state(on("theirs"))).values == {}
        await PostgresSaver(pool).adelete_thread("theirs")
        assert await stock.aget_tuple(on("theirs")) is not None


async def test_with_a_key_no_state_value_is_stored_in_clear(pool: Pool) -> None:
    class State(MessagesState):
        secret: str
        count: int

    serde = EncryptedSerializer.from_pycryptodome_aes(JsonPlusSerializer(), key=b"0" * 32)

    def build(saver: Any) -> Any:
        return (
            StateGraph(State)
            .add_node("a", lambda state: {"messages": [AIMessage("canary-answer")], "count": 7})
            .add_edge(START, "a")
            .compile(checkpointer=saver)
        )

    graph = build(PostgresSaver(pool, serde=serde))
    await graph.ainvoke({"messages": [HumanMessage("canary-question")], "secret": "canary-value"}, on("t"))
    last = await graph.ainvoke({"messages": [{"role": "user", "content": "canary-question" * 100}]}, on("t"))
    assert (await build(PostgresSaver(pool, serde=serde)).aget_state(on("t"))).values == last
    assert last["secret"] == "canary-value"
    for table in ("checkpoints", "writes", "messages", "blobs"):
        rows = f"SELECT count(*) FROM freehold.thread_{table} AS t WHERE t::text ~ ('canary|' || encode('canary', 'hex'))"
        assert await value(pool, rows) == 0
    await build(PostgresSaver(pool)).ainvoke({"messages": [], "secret": "clear"}, on("clear"))
    with pytest.raises(Incompatible, match="not encrypted"):
        await PostgresSaver(pool, serde=serde).aget_tuple(on("clear"))


async def test_pruning_keeps_the_newest_state_and_drops_what_only_older_ones_held(pool: Pool) -> None:
    graph = conversation(PostgresSaver(pool))
    for number in range(5):
        last = await turn(graph, "t", number)
    await graph.aupdate_state(on("t"), {"messages": [RemoveMessage(m.id) for m in last["messages"][:8]]})
    await PostgresSaver(pool).aprune(["t"])
    state = await conversation(PostgresSaver(pool)).aget_state(on("t"))
    assert state.values["messages"] == last["messages"][8:]
    assert await value(pool, "SELECT count(*) FROM freehold.thread_checkpoints") == 1
    assert await value(pool, "SELECT count(*) FROM freehold.thread_messages WHERE length(message) > 900") == 2
    assert len((await turn(conversation(PostgresSaver(pool)), "t", 9))["messages"]) == 4


async def test_a_thread_with_a_delta_channel_is_pruned_and_goes_on(pool: Pool) -> None:
    class State(TypedDict):
        items: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=5)]

    def build() -> Any:
        return (
            StateGraph(State)
            .add_node("a", lambda state: {"items": [f"n{len(state['items'])}"]})
            .add_edge(START, "a")
            .compile(checkpointer=PostgresSaver(pool))
        )

    for number in range(8):
        last = await build().ainvoke({"items": [f"i{number}"]}, on("t"))
    await PostgresSaver(pool).aprune(["t"])
    assert (await build().aget_state(on("t"))).values == last
    assert await value(pool, "SELECT count(*) FROM freehold.thread_checkpoints") < 8
    assert (await build().ainvoke({"items": ["more"]}, on("t")))["items"][:16] == last["items"]


async def test_removing_a_run_takes_its_checkpoints_and_the_writes_it_left_on_others(pool: Pool) -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"you said {interrupt('what?')}")]}

    def build(run: str) -> tuple[Any, RunnableConfig]:
        graph = StateGraph(MessagesState).add_node(ask).add_edge(START, "ask").compile(checkpointer=PostgresSaver(pool))
        return graph, {"configurable": {"thread_id": "t"}, "metadata": {"run_id": run}}

    graph, config = build("first")
    await graph.ainvoke({"messages": [HumanMessage("hello")]}, config)
    before = await graph.aget_state(on("t"))
    graph, config = build("second")
    await graph.ainvoke(Command(resume="yes"), config)
    await PostgresSaver(pool).adelete_for_runs(["second"])
    after = await build("third")[0].aget_state(on("t"))
    assert (after.values, after.next, after.tasks) == (before.values, before.next, before.tasks)


async def test_ten_programs_may_create_the_tables_at_once_and_use_them_without_event_loop(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as conn:
        for table in ("checkpoints", "writes", "messages", "blobs"):
            await conn.execute(f"DROP TABLE freehold.thread_{table}")
        await conn.execute("DROP FUNCTION freehold.expect_stored")

    def program(number: int) -> list[Any]:
        with PostgresSaver.from_conn_string(database.owner_url, max_size=1) as saver:
            saver.setup()
            graph = StateGraph(MessagesState).add_node("a", lambda _: {"messages": [AIMessage("hi")]}).add_edge(START, "a")
            compiled = graph.compile(checkpointer=saver)
            compiled.invoke({"messages": [HumanMessage(str(number))]}, on(f"t{number}"))
            return [m.content for m in compiled.get_state(on(f"t{number}")).values["messages"]]

    answers = await asyncio.gather(*(asyncio.to_thread(program, number) for number in range(10)))
    assert answers == [[str(number), "hi"] for number in range(10)]


async def test_what_a_given_up_batch_was_to_add_is_not_taken_for_stored(
    pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = PostgresSaver(pool)
    checkpoint = {**empty_checkpoint(), "channel_values": {"messages": [AIMessage("hello " * 99, id="m1")]}}
    where = await saver.aput(on("t", checkpoint_ns=""), {**checkpoint, "channel_values": {}}, {}, {})
    monkeypatch.setattr(write, "PATIENCE_SECONDS", 0.5)
    await refuse_connections(database, True)
    writes = asyncio.create_task(saver.aput_writes(where, [("messages", checkpoint["channel_values"]["messages"])], "task"))
    await asyncio.sleep(0.2)
    monkeypatch.setattr(write, "PATIENCE_SECONDS", 45.0)
    behind = asyncio.create_task(saver.aput(where, {**checkpoint, "id": checkpoint["id"][:-1] + "f"}, {}, {}))
    with pytest.raises(StorageUnavailable):
        await writes
    await refuse_connections(database, False)
    await behind
    found = await PostgresSaver(pool).aget_tuple(on("t"))
    assert found and found.checkpoint["channel_values"]["messages"][0].content == "hello " * 99


async def refuse_connections(database: Database, refused: bool) -> None:
    """A database nobody reaches, while its server goes on."""
    server = psycopg.conninfo.make_conninfo(database.superuser_url, dbname="postgres")
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as conn:
        await conn.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS {not refused}'.encode())
        if refused:
            await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database.name,))


async def test_a_value_that_cannot_be_stored_fails_its_own_operation_only(pool: Pool) -> None:
    saver = PostgresSaver(pool)
    bad, good = [await saver.aput(on(thread, checkpoint_ns=""), empty_checkpoint(), {}, {}) for thread in ("bad", "good")]
    results = await asyncio.gather(
        saver.aput_writes(bad, [("a", AIMessage("fine " * 99, id="1")), ("b", object())], "task"),
        saver.aput_writes(good, [("a", 1)], "task"),
        saver.aput_writes(good, [("a", "one \ud800")], "other"),
        return_exceptions=True,
    )
    assert [type(result) for result in results[:2]] == [TypeError, type(None)]
    await saver.aput_writes(bad, [("a", AIMessage("fine " * 99, id="1"))], "task")
    found = await PostgresSaver(pool).aget_tuple(on("bad"))
    assert found and found.pending_writes and found.pending_writes[0][2].content == "fine " * 99


async def test_commands_one_after_the_other_on_a_checkpoint_keep_all_their_updates(pool: Pool) -> None:
    class State(TypedDict):
        items: Annotated[list[str], lambda a, b: (a or []) + (b or [])]

    def ask(state: State) -> dict[str, Any]:
        return {"items": [interrupt("first?"), interrupt("second?"), interrupt("third?")]}

    async def asked(saver: Any) -> Any:
        graph = StateGraph(State).add_node(ask).add_edge(START, "ask").compile(checkpointer=saver)
        await graph.ainvoke({"items": []}, on("t"))
        await graph.ainvoke(Command(resume="a", update={"items": ["x"]}), on("t"))
        await graph.ainvoke(Command(resume="b", update={"items": ["y"]}), on("t"))
        return await graph.ainvoke(Command(resume="c"), on("t"))

    assert await asked(PostgresSaver(pool)) == await asked(InMemorySaver()) == {"items": ["x", "y", "a", "b", "c"]}


async def test_removing_a_run_leaves_the_answers_that_runs_before_it_gave(pool: Pool) -> None:
    class State(TypedDict):
        answers: list[str]

    def ask(state: State) -> dict[str, Any]:
        return {"answers": [interrupt("first?"), interrupt("second?")]}

    def build(run: str) -> tuple[Any, RunnableConfig]:
        graph = StateGraph(State).add_node(ask).add_edge(START, "ask").compile(checkpointer=PostgresSaver(pool))
        return graph, {"configurable": {"thread_id": "t"}, "metadata": {"run_id": run}}

    for run, given in (("1", {"answers": []}), ("2", Command(resume="a")), ("3", Command(resume="wrong"))):
        graph, config = build(run)
        await graph.ainvoke(given, config)
    await PostgresSaver(pool).adelete_for_runs(["3"])
    graph, config = build("4")
    assert [task.interrupts[0].value for task in (await graph.aget_state(on("t"))).tasks] == ["second?"]
    assert await graph.ainvoke(Command(resume="b"), config) == {"answers": ["a", "b"]}


async def test_documents_a_state_held_once_are_neither_read_with_it_nor_kept(pool: Pool) -> None:
    class State(MessagesState):
        found: list[dict[str, str]]

    def search(state: State) -> dict[str, Any]:
        number = len(state["messages"])
        return {
            "found": [{"type": "text", "content": f"{number} {n} " + "d" * 2000} for n in range(10)],
            "messages": [AIMessage("see there")],
        }

    graph = StateGraph(State).add_node(search).add_edge(START, "search").compile(checkpointer=PostgresSaver(pool))
    for number in range(8):
        last = await graph.ainvoke({"messages": [HumanMessage(f"question {number}")]}, on("t"))
    assert (await graph.aget_state(on("t"))).values == last
    await PostgresSaver(pool).aprune(["t"])
    assert await value(pool, "SELECT count(*) FROM freehold.thread_messages WHERE length(message) > 1900") == 10
    assert (await graph.aget_state(on("t"))).values == last


async def test_a_large_value_that_stays_is_sent_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    class State(TypedDict):
        document: str
        count: int

    sent: list[int] = []
    whole = write.statement_of

    def counted(batch: Any, fence: Any) -> Any:
        found = whole(batch, fence)
        sent.extend(len(blob) for blob in found.arguments.get("b_value", ()))
        return found

    monkeypatch.setattr(write, "statement_of", counted)
    graph = StateGraph(State)
    for place in range(6):
        graph.add_node(str(place), lambda state: {"count": state["count"] + 1})
        graph.add_edge(START if place == 0 else str(place - 1), str(place))
    compiled = graph.compile(checkpointer=PostgresSaver(pool))
    await compiled.ainvoke({"document": "d" * 100_000, "count": 0}, on("t"))
    assert len(sent) == 1
    assert (await compiled.aget_state(on("t"))).values == {"document": "d" * 100_000, "count": 6}


async def test_what_a_step_left_alone_is_not_serialised_again(pool: Pool) -> None:
    class Counting(JsonPlusSerializer):
        documents = 0

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            self.documents += isinstance(obj, str) and len(obj) == 100_000
            return super().dumps_typed(obj)

    class State(TypedDict):
        document: str
        count: int

    graph = StateGraph(State)
    for place in range(9):
        graph.add_node(str(place), lambda state: {"count": state["count"] + 1})
        graph.add_edge(START if place == 0 else str(place - 1), str(place))
    serde = Counting(pickle_fallback=False)
    compiled = graph.compile(checkpointer=PostgresSaver(pool, serde=serde))
    await compiled.ainvoke({"document": "d" * 100_000, "count": 0}, on("t"))
    assert serde.documents <= 3  # in the input, as the write of the first task, as the channel it went to
    fork = [state async for state in compiled.aget_state_history(on("t"))][4].config
    changed = await compiled.aupdate_state(fork, {"document": "e" * 100_000})
    assert (await compiled.aget_state(changed)).values["document"] == "e" * 100_000
    other = await compiled.aupdate_state(fork, {"count": 99})
    assert (await graph.compile(checkpointer=PostgresSaver(pool)).aget_state(other)).values["document"] == "d" * 100_000


async def test_a_number_that_becomes_another_kind_of_number_in_place_is_stored_so(pool: Pool) -> None:
    def answer(state: MessagesState) -> AIMessage:
        if len(state["messages"]) > 2:
            state["messages"][1].tool_calls[0]["args"]["flag"] = True
        return AIMessage("", tool_calls=[{"name": "set", "args": {"flag": 1}, "id": "c"}])

    for number in range(2):
        await turn(conversation(PostgresSaver(pool), answer), "t", number)
    state = await conversation(PostgresSaver(pool)).aget_state(on("t"))
    assert state.values["messages"][1].tool_calls[0]["args"]["flag"] is True


async def test_metadata_may_hold_the_text_of_an_escaped_nul(pool: Pool) -> None:
    saver = PostgresSaver(pool)
    await saver.aput(on("t", checkpoint_ns=""), empty_checkpoint(), {"note": "a \\u0000 b", "nul": "c\x00d"}, {})  # type: ignore[typeddict-unknown-key]
    found = await saver.aget_tuple(on("t"))
    assert found and (found.metadata["note"], found.metadata["nul"]) == ("a \\u0000 b", "cd")  # type: ignore[typeddict-item]


async def test_an_id_that_is_no_text_finds_nothing(pool: Pool) -> None:
    saver = PostgresSaver(pool)
    assert await saver.aget_tuple(on("t", checkpoint_id=123)) is None
    assert [found async for found in saver.alist(on("t"), before=on("t", checkpoint_id=123))] == []


async def test_a_checkpoint_that_is_pruned_while_it_is_read_is_read_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = conversation(PostgresSaver(pool))
    for number in range(3):
        last = await turn(graph, "t", number)
    saver = PostgresSaver(pool)
    fetch = saver._fetch

    async def pruned_first(*arguments: Any) -> Any:
        monkeypatch.undo()
        await graph.aupdate_state(on("t"), {"messages": [RemoveMessage(m.id) for m in last["messages"][:4]]})
        await PostgresSaver(pool).aprune(["t"])
        return await fetch(*arguments)

    monkeypatch.setattr(saver, "_fetch", pruned_first)
    found = await saver.aget_tuple(on("t"))
    assert found and found.checkpoint["channel_values"]["messages"] == last["messages"][4:]


class TestDeferred:
    """A saver that gathers, for whoever stores the rest when a run ends."""

    async def test_it_reads_what_it_has_not_stored_yet(self, pool: Pool) -> None:
        saver = PostgresSaver(pool, deferred=True)
        last = await turn(conversation(saver), "t", 1)
        assert (await conversation(saver).aget_state(on("t"))).values == last

    async def test_many_quick_steps_are_one_statement(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(write, "GATHER_SECONDS", 60.0)
        saver = PostgresSaver(pool, deferred=True)
        last = await turn(conversation(saver), "t", 1)
        assert await value(pool, "SELECT count(*) FROM freehold.thread_checkpoints") == 0
        pending = await saver.pending()
        assert pending
        for _ in range(2):  # an answer was lost: the same once more
            async with pool.connection() as conn:
                await conn.execute(pending.statement, pending.arguments)
        assert await value(pool, "SELECT count(*) FROM freehold.thread_checkpoints") == 3
        assert (await conversation(PostgresSaver(pool)).aget_state(on("t"))).values == last

    async def test_what_it_could_not_store_is_told_and_what_was_before_is_kept(self, pool: Pool) -> None:
        def answer(state: MessagesState) -> Any:
            return AIMessage("fine") if len(state["messages"]) == 1 else AIMessage("", additional_kwargs={"bad": object()})

        saver = PostgresSaver(pool, deferred=True)
        last = await turn(conversation(saver, answer), "t", 1)
        with pytest.raises(TypeError):
            await turn(conversation(saver, answer), "t", 2)
        with pytest.raises(TypeError):  # as the node's writes, and as part of the checkpoint
            await saver.flush()
        await saver.flush()
        kept = (await conversation(PostgresSaver(pool)).aget_state(on("t"))).values["messages"]
        assert kept[:2] == last["messages"]

    async def test_a_lost_claim_is_told_and_nothing_is_stored(self, pool: Pool) -> None:
        saver = PostgresSaver(pool, fence=(uuid4(), 1), deferred=True)
        with pytest.raises(LeaseLost):
            await turn(conversation(saver), "t", 1)
            await saver.flush()
        for table in ("thread_checkpoints", "thread_writes", "thread_messages"):
            assert await value(pool, f"SELECT count(*) FROM freehold.{table}") == 0
