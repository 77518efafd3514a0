"""Many followers, one reader, on a real Valkey that also goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError
from tests.support.servers import ValkeyServer

from freehold.core.event import END, START, Event, EventId
from freehold.events import reader as reader_module
from freehold.events.log import EventLog, create_client
from freehold.events.reader import EventReader, Watch

#: What the reader's connections are called in Valkey.
NAME = "reader-under-test"


@dataclass(frozen=True)
class Bench:
    """A reader as a server process has it, and a writer apart from it."""

    reader: EventReader
    log: EventLog
    client: redis.Redis

    async def connections_of_reader(self, kind: str | None = None) -> int:
        """Connections the reader has in Valkey, of one kind (`pubsub`) or of any; other tests' servers have theirs there too."""
        return sum(one["name"] == NAME for one in await self.client.client_list(_type=kind))

    async def subscriptions(self) -> int:
        return len(await self.client.pubsub_channels("freehold:run:*"))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bench]:
    reading, writing = create_client(f"{url}?client_name={NAME}"), create_client(url)
    try:
        async with EventReader(EventLog(reading), reading) as reader:
            yield Bench(reader, EventLog(writing), writing)
    finally:
        await reading.aclose()
        await writing.aclose()


@pytest.fixture
async def bench(valkey_url: str) -> AsyncIterator[Bench]:
    async with opened(valkey_url) as bench:
        yield bench


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """One that a test may stop; it keeps what it was told."""
    server = ValkeyServer(persistent=True)
    try:
        yield server.start()
    finally:
        server.remove()


def run(number: int) -> UUID:
    return UUID(int=number)


def events(first: int, last: int, epoch: int = 1, data: bytes = b"{}") -> list[Event]:
    return [Event(EventId(epoch, seq), "custom", data) for seq in range(first, last + 1)]


def end(seq: int, epoch: int = 1) -> Event:
    return Event(EventId(epoch, seq), END, b"{}")


async def follow(reader: EventReader, run_id: UUID, after: EventId = START) -> list[Event]:
    """To the end, as a follower does that asks again after every failure."""
    seen: list[Event] = []
    with reader.watch(run_id) as watch:
        while not seen or seen[-1].name != END:
            try:
                seen += await watch.read(seen[-1].id if seen else after, seconds=0.5)
            except (RedisError, TimeoutError):
                await asyncio.sleep(0.05)
    return seen


async def until_subscribed(bench: Bench, channels: int) -> None:
    async with asyncio.timeout(30):
        while await bench.subscriptions() != channels:
            await asyncio.sleep(0.01)


async def test_what_is_there_already_is_read_at_once(bench: Bench) -> None:
    await bench.log.append(run(1), events(1, 3))
    with bench.reader.watch(run(1)) as watch:
        assert await watch.read(EventId(1, 1), seconds=0) == events(2, 3)
        assert await watch.read(EventId(1, 3), seconds=0) == []


async def test_one_that_shares_the_answer_to_a_smaller_question_knows_that_there_is_more(bench: Bench) -> None:
    await bench.log.append(run(1), events(1, 40))
    with bench.reader.watch(run(1)) as experienced, bench.reader.watch(run(1)) as fresh:
        await until_subscribed(bench, 1)
        assert await experienced.read(START, seconds=0) == events(1, 8)
        both = await asyncio.gather(fresh.read(EventId(1, 8), seconds=0), experienced.read(EventId(1, 8), seconds=0))
        assert both == [events(9, 16)] * 2
        assert await experienced.read(EventId(1, 16), seconds=0) == events(17, 40)


async def test_an_append_is_announced_to_those_who_wait(bench: Bench) -> None:
    with bench.reader.watch(run(1)) as watch:
        waiting = asyncio.create_task(watch.read(START, seconds=3600))
        await until_subscribed(bench, 1)
        await bench.log.append(run(1), events(1, 1))
        assert await waiting == events(1, 1)


async def test_what_is_written_while_the_subscription_is_on_its_way_is_not_missed(bench: Bench) -> None:
    async def one(number: int) -> list[Event]:
        with bench.reader.watch(run(number)) as watch:
            return await watch.read(START, seconds=3600)

    following = [asyncio.create_task(one(number)) for number in range(50)]
    for number in range(50):
        await bench.log.append(run(number), events(1, 1))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*following) == [events(1, 1)] * 50


async def test_more_than_one_read_gives_arrives_whole_and_in_order(bench: Bench) -> None:
    await bench.log.append(run(1), [*events(1, 2000), end(2001)])
    assert [event.id.seq for event in await follow(bench.reader, run(1))] == list(range(1, 2002))


async def test_a_read_of_large_events_is_bounded_in_bytes(bench: Bench) -> None:
    await bench.log.append(run(1), events(1, 40, data=b"x" * 100_000))
    with bench.reader.watch(run(1)) as watch:
        first = await watch.read(START, seconds=0)
        second = await watch.read(first[-1].id, seconds=0)
    assert len(first) == reader_module.FIRST_COUNT
    assert sum(len(event.data) for event in second) <= reader_module.READ_BYTES


async def test_three_hundred_followers_of_as_many_runs_share_two_connections(bench: Bench) -> None:
    following = [asyncio.create_task(follow(bench.reader, run(number))) for number in range(300)]
    await until_subscribed(bench, 300)
    assert 1 <= await bench.connections_of_reader() <= 2
    for seq in range(1, 6):
        await asyncio.gather(*(bench.log.append(run(number), events(seq, seq)) for number in range(300)))
    assert await bench.connections_of_reader("pubsub") == 1
    for number in range(300):
        await bench.log.append(run(number), [end(6)], close=True)
    for seen in await asyncio.gather(*following):
        assert [event.id.seq for event in seen] == [1, 2, 3, 4, 5, 6]


async def test_followers_of_one_run_share_its_reads(bench: Bench) -> None:
    following = [asyncio.create_task(follow(bench.reader, run(1))) for _ in range(100)]
    await until_subscribed(bench, 1)
    before = (await bench.client.info("commandstats"))["cmdstat_xread"]["calls"]
    await bench.log.append(run(1), [*events(1, 3), end(4)])
    for seen in await asyncio.gather(*following):
        assert [event.id.seq for event in seen] == [1, 2, 3, 4]
    assert (await bench.client.info("commandstats"))["cmdstat_xread"]["calls"] - before < 10


async def test_one_that_does_not_read_holds_up_nobody_and_finds_everything_later(bench: Bench) -> None:
    with bench.reader.watch(run(1)) as slow:
        first = await asyncio.gather(slow.read(START, seconds=3600), bench.log.append(run(1), events(1, 1)))
        other = asyncio.create_task(follow(bench.reader, run(1)))
        for seq in range(2, 500):
            await bench.log.append(run(1), events(seq, seq))
        await bench.log.append(run(1), [end(500)])
        assert len(await other) == 500
        seen = first[0]
        while seen[-1].name != END:
            seen = seen + await slow.read(seen[-1].id, seconds=0)
    assert [event.id.seq for event in seen] == list(range(1, 501))


async def test_one_that_leaves_does_not_take_the_read_from_the_others(bench: Bench) -> None:
    following = [asyncio.create_task(follow(bench.reader, run(1))) for _ in range(10)]
    await until_subscribed(bench, 1)
    await bench.log.append(run(1), events(1, 1))
    following[0].cancel()  # while the read is under way
    await bench.log.append(run(1), [end(2)])
    seen = await asyncio.gather(*following, return_exceptions=True)
    assert isinstance(seen[0], asyncio.CancelledError)
    assert all(found == [*events(1, 1), end(2)] for found in seen[1:])


async def test_cancelled_followers_leave_nothing_watched(bench: Bench) -> None:
    following = [asyncio.create_task(follow(bench.reader, run(number % 50))) for number in range(100)]
    await until_subscribed(bench, 50)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    assert bench.reader.watched == 0
    await until_subscribed(bench, 0)


async def test_a_run_watched_again_is_heard_again(bench: Bench) -> None:
    for attempt in range(1, 20):
        with bench.reader.watch(run(1)) as watch:
            waiting = asyncio.create_task(watch.read(EventId(1, attempt - 1), seconds=3600))
            await asyncio.sleep(0)
            await bench.log.append(run(1), events(attempt, attempt))
            async with asyncio.timeout(30):
                assert await waiting == events(attempt, attempt)


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
async def test_followers_go_on_without_gap_or_duplicate_while_valkey_restarts(own_valkey: ValkeyServer, kill: bool) -> None:
    async with opened(own_valkey.url) as bench:
        following = [asyncio.create_task(follow(bench.reader, run(number % 10))) for number in range(50)]
        await until_subscribed(bench, 10)
        for number in range(10):
            await bench.log.append(run(number), events(1, 20))
        await asyncio.sleep(1.1)  # the append-only file is written out every second
        await asyncio.to_thread(own_valkey.stop, kill=kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_valkey.start)
        for number in range(10):
            await bench.log.append(run(number), [*events(21, 40), end(41)])
        for seen in await asyncio.gather(*following):
            assert [event.id.seq for event in seen] == list(range(1, 42))


async def test_after_a_restart_of_valkey_appends_are_announced_again(own_valkey: ValkeyServer) -> None:
    async with opened(own_valkey.url) as bench:
        with bench.reader.watch(run(1)) as watch:
            assert await watch.read(START, seconds=0) == []
            await asyncio.to_thread(own_valkey.stop)
            await asyncio.to_thread(own_valkey.start)
            await until_subscribed(bench, 1)
            waiting = asyncio.create_task(_patiently(watch))
            await bench.log.append(run(1), events(1, 1))
            async with asyncio.timeout(30):
                assert await waiting == events(1, 1)


async def _patiently(watch: Watch) -> list[Event]:
    while True:
        try:
            return await watch.read(START, seconds=3600)
        except (RedisError, TimeoutError):
            await asyncio.sleep(0.05)


async def test_a_network_that_swallows_everything_is_noticed(own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets go nowhere and no connection is closed: reads fail, and both connections are made anew."""
    monkeypatch.setattr(reader_module, "HUNG_SECONDS", 0.3)
    async with swallowing(own_valkey) as (url, open_valve), opened(url) as bench, opened(own_valkey.url) as direct:
        with bench.reader.watch(run(1)) as watch:
            assert await watch.read(START, seconds=0) == []
            await until_subscribed(direct, 1)
            open_valve.clear()
            await direct.log.append(run(1), events(1, 1))
            watch.stir()
            with pytest.raises((RedisError, TimeoutError)):
                await watch.read(START, seconds=3600)
            await asyncio.sleep(1)  # until the silence of the listening connection is noticed, too
            open_valve.set()
            async with asyncio.timeout(30):
                assert await _patiently(watch) == events(1, 1)
                waiting = asyncio.create_task(watch.read(EventId(1, 1), seconds=3600))
                await until_subscribed(direct, 1)
                await direct.log.append(run(1), events(2, 2))
                assert await waiting == events(2, 2)


@asynccontextmanager
async def swallowing(server: ValkeyServer) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to Valkey that loses what is sent on it while its valve is shut; connections from then stay mute for ever."""
    valve = asyncio.Event()
    valve.set()
    path = server.folder / "way.sock"

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        mute = False
        while piece := await source.read(65536):
            mute = mute or not valve.is_set()
            if not mute:
                sink.write(piece)

    pumps: list[asyncio.Task[None]] = []
    ends: list[asyncio.StreamWriter] = []

    async def way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        far_source, far_sink = await asyncio.open_unix_connection(str(server.folder / "valkey.sock"))
        ends.extend([sink, far_sink])
        pumps.extend([asyncio.create_task(pump(source, far_sink)), asyncio.create_task(pump(far_source, sink))])

    listening = await asyncio.start_unix_server(way, str(path))
    try:
        yield f"unix://{path}", valve
    finally:
        listening.close()
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end_of_way in ends:
            end_of_way.close()
            with suppress(OSError):
                await end_of_way.wait_closed()


async def test_whoever_waits_for_the_end_is_not_stirred_before_and_is_given_nothing_else(bench: Bench) -> None:
    with bench.reader.watch(run(1), end_only=True) as watch, bench.reader.watch(run(1)) as other:
        assert await watch.read(START, seconds=0.3) == []
        await bench.log.append(run(1), events(1, 5))
        assert await other.read(START, seconds=5) == events(1, 5)
        assert await watch.read(START, seconds=0.3) == []
        await bench.log.append(run(1), [*events(6, 6), end(7)], close=True)
        assert await watch.read(START, seconds=5) == [end(7)]
        assert await watch.read(EventId(1, 7), seconds=0) == []
        assert await other.read(EventId(1, 5), seconds=5) == [*events(6, 6), end(7)]


async def test_an_end_that_was_there_before_somebody_waited_for_it_is_found(bench: Bench) -> None:
    await bench.log.append(run(1), [*events(1, 2000), end(2001)], close=True)
    with bench.reader.watch(run(1), end_only=True) as watch:
        assert await watch.read(START, seconds=5) == [end(2001)]


async def test_a_bell_rings_when_a_run_is_accepted_on_its_thread_and_on_no_other(bench: Bench) -> None:
    mine, other = UUID(int=71), UUID(int=72)
    with bench.reader.bell(mine) as bell:
        assert await bell.rung(5), "a subscription that was just made does not know what came before it"
        await bench.log.wake_workers(other)
        await bench.log.wake_workers()
        assert not await bell.rung(0.3)
        await bench.log.wake_workers(mine)
        assert await bell.rung(5)
        assert not await bell.rung(0.1), "it rings once"


async def test_without_bells_nothing_is_heard_of_workers_being_woken(bench: Bench) -> None:
    async def listeners() -> int:
        return int((await bench.client.pubsub_numsub("freehold:wake"))[0][1])

    others = await listeners()  # workers of other tests that are still up
    with bench.reader.bell(UUID(int=73)) as one, bench.reader.bell(UUID(int=73)):
        assert await one.rung(5)
        assert len(bench.reader.threads) == 1
        assert await listeners() == others + 1
    assert not bench.reader.threads
    async with asyncio.timeout(5):
        while await listeners() > others:
            await asyncio.sleep(0.02)
