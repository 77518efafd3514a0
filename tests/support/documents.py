"""Documents made by hand for tests: a PDF needs nothing but its text, and the embedding model comes from the user's cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.models.download import fetch_embedding
from freehold.rag.embed import Embedder

EMBEDDING_MODEL = "all-minilm-l6-v2"


def pdf(pages: Sequence[str], *, trailer: str = "") -> bytes:
    """A PDF with these texts, one a page, a line each; a blank text gives a page without any, as a scan has."""
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for index, text in enumerate(pages):
        lines = "".join(f"({_escaped(line)}) Tj 0 -14 Td " for line in text.splitlines())
        stream = f"BT /F1 11 Tf 50 750 Td {lines}ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * index} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return (
        f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF"
    ).encode("latin-1")


@cache
def _embedders() -> dict[str, Embedder]:
    return {}


async def embedder() -> Embedder:
    """The default embedding model, loaded once in a test run."""
    loaded = _embedders()
    if EMBEDDING_MODEL not in loaded:
        folder = await fetch_embedding(EMBEDDING_MODEL, paths.cache(), Silent())
        loaded[EMBEDDING_MODEL] = Embedder(folder, name=EMBEDDING_MODEL)
    return loaded[EMBEDDING_MODEL]


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
