"""Documents on a real Postgres with the real embedding model: ingest, search, and who may see what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from tests.support import documents

from freehold.config.settings import KnowledgeSection
from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import ConfigError, InvalidRequest, NotFound, StorageUnavailable
from freehold.core.ids import new_id
from freehold.rag.embed import Embedder
from freehold.rag.index.pgvector import PgvectorIndex
from freehold.rag.knowledge import Knowledge
from freehold.rag.split import Chunk
from freehold.storage.documents import Document
from freehold.storage.pool import Pool, connection, create_pool

SOMEBODY_ELSE = Caller("local", "somebody-else")
ANOTHER_COMPANY = Caller("elsewhere", "local")

LEAVE = "# Leave\n\nEvery employee has 27 days of paid annual leave. Unused days lapse on 30 June.\n"
TRAVEL = "<html><body><nav>Home</nav><h1>Travel</h1><p>Train journeys are booked in <b>second class</b>.</p></body></html>"
SECURITY = "Report a stolen laptop to the security desk within one hour."


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=6) as pool:
        yield pool


@pytest.fixture
async def embedder() -> Embedder:
    return await documents.embedder()


@pytest.fixture
def knowledge(pool: Pool, embedder: Embedder) -> Knowledge:
    return build(pool, embedder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "company"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "leave.md").write_text(LEAVE)
    (folder / "travel.html").write_text(TRAVEL)
    (folder / "security.txt").write_text(SECURITY)
    (folder / "workshop.pdf").write_bytes(
        documents.pdf(["The calibration chamber needs a yellow badge.", "The red lamp means: keep the door shut."])
    )
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def build(pool: Pool, embedder: Embedder, settings: KnowledgeSection | None = None) -> Knowledge:
    async def load() -> Embedder:
        return embedder

    return Knowledge(pool, load, settings or KnowledgeSection())


async def sources(knowledge: Knowledge, caller: Caller = LOCAL) -> list[str]:
    return sorted(document.source for document in await knowledge.documents(caller))


async def count(pool: Pool, table: str) -> int:
    async with connection(pool) as conn:
        row = await (await conn.execute(f"SELECT count(*) AS n FROM freehold.{table}")).fetchone()  # type: ignore[arg-type]
    assert row
    return int(row["n"])


async def test_a_folder_of_four_kinds_is_found_by_meaning(knowledge: Knowledge, folder: Path) -> None:
    report = await knowledge.ingest([folder], LOCAL)
    assert report.added == ["policies/leave.md", "security.txt", "travel.html", "workshop.pdf"]
    assert (report.failed, report.skipped, report.chunks) == ([], 1, 5)

    (leave, *_) = await knowledge.retrieve("How much vacation do I get each year?", LOCAL)
    assert (leave.source, leave.heading, leave.page) == ("policies/leave.md", "Leave", None)
    assert "27 days" in leave.content
    (pdf, *_) = await knowledge.retrieve("What does the red lamp at the door mean?", LOCAL)
    assert (pdf.source, pdf.page) == ("workshop.pdf", 2)
    (travel, *_) = await knowledge.retrieve("Which class do I book on the train?", LOCAL)
    assert travel.content == "Train journeys are booked in second class."


async def test_unchanged_is_skipped_changed_replaced_vanished_dropped(knowledge: Knowledge, pool: Pool, folder: Path) -> None:
    await knowledge.ingest([folder], LOCAL)
    (folder / "policies" / "leave.md").write_text(LEAVE.replace("27", "31"))
    (folder / "travel.html").unlink()
    (folder / "new.txt").write_text("The canteen opens at noon.")

    report = await knowledge.ingest([folder], LOCAL)
    assert report.updated == ["policies/leave.md"]
    assert report.removed == ["travel.html"]
    assert report.added == ["new.txt"]
    assert report.unchanged == ["security.txt", "workshop.pdf"]
    found = await knowledge.retrieve("How many days of annual leave?", LOCAL)
    assert "31 days" in found[0].content
    assert not any("27 days" in passage.content for passage in found)
    assert await count(pool, "chunks") == 5


async def test_only_documents_below_the_folder_given_now_are_dropped(knowledge: Knowledge, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "company-archive").mkdir()  # its path begins with that of the other folder
    (tmp_path / "company-archive" / "old.txt").write_text("The old canteen opened at eleven.")
    await knowledge.ingest([folder, tmp_path / "company-archive"], LOCAL)
    (folder / "security.txt").unlink()
    (tmp_path / "company-archive" / "old.txt").unlink()

    report = await knowledge.ingest([folder / "policies"], LOCAL)
    assert report.removed == []
    report = await knowledge.ingest([folder], LOCAL)
    assert report.removed == ["security.txt"]
    assert "old.txt" in await sources(knowledge)


async def test_a_failing_file_in_the_middle_is_a_finding_and_the_rest_goes_on(knowledge: Knowledge, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of the kind")
    (folder / "empty.md").write_text("")
    (folder / "scan.pdf").write_bytes(documents.pdf(["", ""]))
    (folder / "binary.txt").write_bytes(bytes(range(256)) + b"\x00" * 4000)
    report = await knowledge.ingest([folder], LOCAL)
    assert len(report.added) == 4
    reasons = {finding.source: finding.reason for finding in report.failed}
    assert reasons.keys() == {"broken.pdf", "empty.md", "scan.pdf", "binary.txt"}
    assert "damaged" in reasons["broken.pdf"]
    assert reasons["empty.md"] == "is empty"
    assert "probably scanned" in reasons["scan.pdf"]
    assert "is not text" in reasons["binary.txt"]


async def test_a_file_that_became_unreadable_keeps_its_earlier_version(knowledge: Knowledge, folder: Path) -> None:
    await knowledge.ingest([folder], LOCAL)
    (folder / "workshop.pdf").write_bytes(b"%PDF-1.7\ndamaged on the way")
    report = await knowledge.ingest([folder], LOCAL)
    assert [finding.source for finding in report.failed] == ["workshop.pdf"]
    assert "earlier version stays" in report.failed[0].reason
    assert (await knowledge.retrieve("Who may use the calibration chamber?", LOCAL))[0].source == "workshop.pdf"


async def test_a_missing_path_is_a_finding(knowledge: Knowledge, tmp_path: Path) -> None:
    report = await knowledge.ingest([tmp_path / "nowhere"], LOCAL)
    assert [(finding.reason) for finding in report.failed] == ["does not exist"]


async def test_a_file_over_the_limit_is_refused(pool: Pool, embedder: Embedder, folder: Path) -> None:
    knowledge = build(pool, embedder, KnowledgeSection(max_file_mb=0.0001))
    report = await knowledge.ingest([folder / "travel.html"], LOCAL)
    assert report.failed[0].reason == "is larger than 0.0001 MB"
    assert report.failed[0].hint == "raise knowledge.max_file_mb"


async def test_settings_that_shape_chunks_make_a_document_count_as_changed(pool: Pool, embedder: Embedder, folder: Path) -> None:
    await build(pool, embedder).ingest([folder / "security.txt"], LOCAL)
    report = await build(pool, embedder, KnowledgeSection(chunk_size=64, chunk_overlap=0)).ingest([folder / "security.txt"], LOCAL)
    assert report.updated == ["security.txt"]


async def test_text_with_zero_bytes_is_stored_without_them(knowledge: Knowledge, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"The backup runs at mid\x00night.\n" * 3 + b"x" * 200)
    report = await knowledge.ingest([tmp_path], LOCAL)
    assert report.added == ["log.txt"]
    assert report.notes[0].reason == "3 zero bytes were left out"
    assert "midnight" in (await knowledge.retrieve("When does the backup run?", LOCAL, min_score=0))[0].content


async def test_an_owner_never_sees_what_another_one_has(knowledge: Knowledge, folder: Path) -> None:
    await knowledge.ingest([folder], LOCAL)
    for stranger in (SOMEBODY_ELSE, ANOTHER_COMPANY):
        assert await knowledge.retrieve("How much annual leave?", stranger, min_score=-1) == []
        assert await knowledge.documents(stranger) == []
        with pytest.raises(NotFound):
            await knowledge.remove("security.txt", stranger)
    report = await knowledge.ingest([folder], SOMEBODY_ELSE)
    assert len(report.added) == 4
    (folder / "security.txt").unlink()
    assert (await knowledge.ingest([folder], SOMEBODY_ELSE)).removed == ["security.txt"]
    assert "security.txt" in await sources(knowledge)


async def test_nothing_relevant_gives_an_empty_list(knowledge: Knowledge, folder: Path) -> None:
    await knowledge.ingest([folder], LOCAL)
    assert await knowledge.retrieve("Who won the football world cup in 1954?", LOCAL) == []
    everything = await knowledge.retrieve("Who won the football world cup in 1954?", LOCAL, min_score=-1, top_k=50)
    assert len(everything) == 5
    assert [passage.score for passage in everything] == sorted((passage.score for passage in everything), reverse=True)
    middle = everything[2].score
    kept = await knowledge.retrieve("Who won the football world cup in 1954?", LOCAL, min_score=middle, top_k=50)
    assert [passage.chunk_id for passage in kept] == [passage.chunk_id for passage in everything[:3]]


async def test_a_blank_question_is_refused(knowledge: Knowledge, folder: Path) -> None:
    await knowledge.ingest([folder / "security.txt"], LOCAL)
    with pytest.raises(InvalidRequest, match="blank"):
        await knowledge.retrieve(" \x00\n", LOCAL)


async def test_two_ingests_of_one_folder_at_once_store_each_document_once(
    knowledge: Knowledge, pool: Pool, embedder: Embedder, folder: Path
) -> None:
    reports = await asyncio.gather(*(build(pool, embedder).ingest([folder], LOCAL) for _ in range(3)))
    assert all(not report.failed for report in reports)
    assert await count(pool, "documents") == 4
    assert await count(pool, "chunks") == 5


async def test_an_ingest_that_is_interrupted_leaves_whole_documents_and_goes_on(knowledge: Knowledge, pool: Pool, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.txt").write_text("\n\n".join(f"Paragraph {part} of file {number}. " + "word " * 150 for part in range(4)))
    task = asyncio.create_task(knowledge.ingest([tmp_path], LOCAL))
    while await count(pool, "documents") < 3:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stored = await knowledge.documents(LOCAL)
    assert 3 <= len(stored) < 12
    assert {document.chunks for document in stored} == {4}

    report = await knowledge.ingest([tmp_path], LOCAL)
    assert len(report.unchanged) == len(stored)
    assert len(report.added) == 12 - len(stored)


async def test_the_sample_document_answers_a_question(knowledge: Knowledge) -> None:
    report = await knowledge.ingest_sample(LOCAL)
    assert report.added == ["handbook.md"]
    found = await knowledge.retrieve("How many weeks of parental leave are there?", LOCAL)
    assert "20 weeks" in found[0].content
    assert (await knowledge.ingest_sample(LOCAL)).unchanged == ["handbook.md"]


async def test_documents_are_removed_by_source_folder_or_id(knowledge: Knowledge, folder: Path) -> None:
    await knowledge.ingest([folder], LOCAL)
    assert await knowledge.remove("policies", LOCAL) == ["policies/leave.md"]
    assert await knowledge.remove("security.txt", LOCAL) == ["security.txt"]
    listed = {document.source: document for document in await knowledge.documents(LOCAL)}
    assert await knowledge.remove(str(listed["travel.html"].document_id), LOCAL) == ["travel.html"]
    assert await knowledge.remove(str(folder), LOCAL) == ["workshop.pdf"]
    assert await knowledge.documents(LOCAL) == []


async def test_search_agrees_with_exact_search_over_two_hundred_chunks(pool: Pool) -> None:
    index, vectors = PgvectorIndex(pool), unit_vectors(200)
    await store(index, vectors, LOCAL)
    found = expected = 0
    for question in unit_vectors(20, seed=7):
        hits = await index.search(question, LOCAL, model="test", top_k=10)
        exact = {f"chunk {row}" for row in np.argsort(-(vectors @ question))[:10]}
        found += len(exact & {hit.content for hit in hits})
        expected += 10
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        best = int(hits[0].content.split()[1])
        assert hits[0].score == pytest.approx(float(vectors[best] @ question), abs=1e-4)
    assert found / expected >= 0.99


async def test_an_owner_with_few_chunks_among_many_gets_all_of_them(pool: Pool) -> None:
    index, question = PgvectorIndex(pool), unit_vectors(1, seed=3)[0]
    crowd = unit_vectors(2500, seed=1) * 0.1 + question  # all of them nearer than what the small owner has
    await store(index, crowd / np.linalg.norm(crowd, axis=1, keepdims=True), LOCAL)
    await store(index, unit_vectors(5, seed=2), SOMEBODY_ELSE)
    async with connection(pool) as conn:  # what a planner with stale statistics does: through the graph, whatever the owner has
        await conn.execute(
            "SET max_parallel_workers_per_gather = 0; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"
        )
        await conn.execute("SET hnsw.max_scan_tuples = 100")
    for _ in range(6):  # whichever pooled connection serves
        assert len(await index.search(question, SOMEBODY_ELSE, model="test", top_k=5)) == 5


async def test_a_replacement_that_fails_half_way_leaves_the_old_version(pool: Pool) -> None:
    index, vectors = PgvectorIndex(pool), unit_vectors(3)
    await store(index, vectors, LOCAL)
    chunks = [Chunk(0, "new"), Chunk(1, "new"), Chunk(2, "a zero byte \x00 is refused by Postgres")]
    with pytest.raises(psycopg.DataError):
        await index.upsert(document("made-up.txt"), chunks, vectors, LOCAL, model="test")
    hits = await index.search(vectors[0], LOCAL, model="test", top_k=10)
    assert sorted(hit.content for hit in hits) == ["chunk 0", "chunk 1", "chunk 2"]


async def test_vectors_of_another_model_are_not_compared(pool: Pool) -> None:
    index, vectors = PgvectorIndex(pool), unit_vectors(3)
    await store(index, vectors, LOCAL)
    assert await index.search(vectors[0], LOCAL, model="another", top_k=3) == []


async def test_vectors_of_another_size_are_a_configuration_error(pool: Pool) -> None:
    with pytest.raises(ConfigError, match="384 dimensions"):
        await PgvectorIndex(pool).upsert(document("x"), [Chunk(0, "x")], np.ones((1, 768), dtype=np.float32), LOCAL, model="test")


async def test_a_database_that_is_away_is_named(embedder: Embedder) -> None:
    async with create_pool("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1", max_size=1) as pool:
        pool.timeout = 0.5
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await build(pool, embedder).retrieve("anything", LOCAL)


def unit_vectors(count: int, *, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, 384)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def document(name: str) -> Document:
    return Document(f"/{name}", name, str(new_id()), "text/plain", 1)


async def store(index: PgvectorIndex, vectors: np.ndarray, caller: Caller) -> None:
    chunks = [Chunk(row, f"chunk {row}") for row in range(len(vectors))]
    assert await index.upsert(document("made-up.txt"), chunks, vectors, caller, model="test")


async def test_the_example_folder_answers_questions_from_each_of_its_files(knowledge: Knowledge) -> None:
    report = await knowledge.ingest([Path(__file__).parents[2] / "examples" / "documents"], LOCAL)
    assert (len(report.added), report.failed, report.notes) == (4, [], [])
    for question, source, answer in (
        ("What do I do when the wind vane is blocked?", "guides/weather-station.md", "wind vane is blocked"),
        ("How often do I clean the rain gauge?", "guides/weather-station.md", "every two months"),
        ("Is damage by lightning covered by the warranty?", "returns.html", "lightning is covered"),
        ("On which days can I call support?", "support.txt", "Monday to Friday"),
        ("When is the next calibration of the station due?", "calibration-report.pdf", "May 2027"),
    ):
        found = await knowledge.retrieve(question, LOCAL)
        assert found[0].source == source, question
        assert any(answer in passage.content for passage in found if passage.source == source), question
