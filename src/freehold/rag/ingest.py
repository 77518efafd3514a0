"""Brings files into the index: new ones added, changed ones replaced, unchanged ones skipped, vanished ones dropped.

A document is stored in one transaction, so an ingest that is interrupted leaves whole documents only; running it again goes
on where it stopped. A file that cannot be read is a finding, and an earlier version of it stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from freehold.config.settings import KnowledgeSection
from freehold.core.caller import Caller
from freehold.core.progress import Progress, Step
from freehold.rag import folder, load, split
from freehold.rag.embed import Embedder, Vectors
from freehold.rag.folder import Candidate, Found
from freehold.rag.index.base import Index
from freehold.rag.load import Loaded, Unreadable
from freehold.rag.load.process import LoaderProcess
from freehold.rag.split import Chunk
from freehold.storage.documents import Document, Documents, Stored

#: The document in `sample/`.
SAMPLE = "handbook.md"

#: Chunks embedded between two signs of life, a second or two of work.
_SLICE_CHUNKS = 64

Outcome = Literal["added", "updated", "unchanged"]


@dataclass(frozen=True)
class Finding:
    """Something a person should know about one file."""

    source: str
    reason: str
    hint: str | None = None


@dataclass
class IngestReport:
    """What an ingest did, by source."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)  # read, but something was odd
    skipped: int = 0  # files that are no kind of document
    chunks: int = 0  # written
    seconds: float = 0.0


@dataclass(frozen=True)
class Ingester:
    """What an ingest works with."""

    documents: Documents
    index: Index
    embedder: Embedder
    settings: KnowledgeSection
    caller: Caller

    async def ingest(self, paths: Sequence[Path], progress: Progress) -> IngestReport:
        """Bring files and folders up to date; see the module.

        Raises:
            StorageUnavailable: the database went away; what was stored so far stays.
        """
        report = IngestReport()
        found = [item for path in paths if (item := await _scan(path, report))]
        return await self._bring_up_to_date(found, report, progress)

    async def ingest_sample(self, progress: Progress) -> IngestReport:
        """Bring in the document that Freehold ships, so that there is something to ask about."""
        location = Path(str(files("freehold.rag") / "sample" / SAMPLE))
        # Known by a name: its location changes with every upgrade.
        sample = Candidate(location, SAMPLE, "text/markdown", name=f"sample:{SAMPLE}")
        return await self._bring_up_to_date([Found(Path(sample.path), (sample,))], IngestReport(), progress)

    async def _bring_up_to_date(self, found: Sequence[Found], report: IngestReport, progress: Progress) -> IngestReport:
        started = time.perf_counter()
        async with LoaderProcess() as loader:
            for item in found:
                await self._bring_folder_up_to_date(item, loader, report, progress)
        report.seconds = time.perf_counter() - started
        return report

    async def _bring_folder_up_to_date(self, found: Found, loader: LoaderProcess, report: IngestReport, progress: Progress) -> None:
        # Read before the files are: a document that another ingest adds meanwhile is not in here, so it is not dropped either.
        stored = await self.documents.below(self.caller, str(found.root))
        with progress.step(f"Ingesting {found.root.name}", total=len(found.candidates)) as step:
            for candidate in found.candidates:
                step.note(candidate.source)
                await self._bring_in(candidate, stored.get(candidate.path), loader, report, step)
        await self._drop_vanished(found, stored.values(), report)

    async def _bring_in(self, candidate: Candidate, stored: Stored | None, loader: LoaderProcess, report: IngestReport, step: Step) -> None:
        try:
            data = await asyncio.to_thread(folder.read, candidate, max_bytes=int(self.settings.max_file_mb * 1_000_000))
            content_hash = self._content_hash(data)
            if stored and stored.content_hash == content_hash:
                if stored.source != candidate.source:  # ingested through another folder this time
                    await self.documents.rename(self.caller, stored.document_id, candidate.source)
                report.unchanged.append(candidate.source)
                return
            loaded = await loader.load(data, candidate.media_type)
            report.notes += [Finding(candidate.source, note) for note in loaded.notes]
            document = Document(
                candidate.path, candidate.source, content_hash, candidate.media_type, len(data), loaded.title or candidate.location.stem
            )
            outcome = await self._store(document, loaded, report, step, is_known=stored is not None)
            {"added": report.added, "updated": report.updated, "unchanged": report.unchanged}[outcome].append(candidate.source)
        except Unreadable as error:
            kept = "; its earlier version stays searchable" if stored else ""
            report.failed.append(Finding(candidate.source, error.message + kept, error.hint))
        finally:
            step.advance(1)

    async def _store(self, document: Document, loaded: Loaded, report: IngestReport, step: Step, *, is_known: bool) -> Outcome:
        chunks = await asyncio.to_thread(split.split, loaded, size=self.settings.chunk_size, overlap=self.settings.chunk_overlap)
        if not chunks:
            raise Unreadable("holds no words")
        vectors = await self._embed(document.source, chunks, step)
        if not await self.index.upsert(document, chunks, vectors, self.caller, model=self.embedder.model):
            return "unchanged"  # another ingest stored the same content meanwhile
        report.chunks += len(chunks)
        return "updated" if is_known else "added"

    async def _embed(self, source: str, chunks: list[Chunk], step: Step) -> Vectors:
        # In slices, so that a book shows progress and can be interrupted.
        slices = []
        for start in range(0, len(chunks), _SLICE_CHUNKS):
            if start:
                step.note(f"{source}: {start} of {len(chunks)} chunks")
            slices.append(await self.embedder.embed([chunk.embedded_text for chunk in chunks[start : start + _SLICE_CHUNKS]]))
        return np.concatenate(slices)

    async def _drop_vanished(self, found: Found, stored: Iterable[Stored], report: IngestReport) -> None:
        vanished = [item for item in stored if found.is_vanished(item.path)]
        if vanished:
            await self.index.delete([item.document_id for item in vanished], self.caller)
            report.removed += [item.source for item in vanished]

    def _content_hash(self, data: bytes) -> str:
        # All that shapes the chunks and vectors: change a setting and the document counts as changed.
        shape = (load.VERSION, split.VERSION, self.settings.chunk_size, self.settings.chunk_overlap, self.embedder.model)
        return hashlib.sha256(repr(shape).encode() + b"\n" + data).hexdigest()


async def _scan(path: Path, report: IngestReport) -> Found | None:
    try:
        found = await asyncio.to_thread(folder.scan, path)
    except Unreadable as error:
        report.failed.append(Finding(os.fsencode(path).decode("utf-8", "replace"), error.message, error.hint))
        return None
    report.failed += [Finding(name, reason) for name, reason in found.unreadable]
    report.skipped += found.skipped
    return found
