"""Searches in documents: do they find something, how near, how fast?"""

from __future__ import annotations

from freehold.stack.monitoring.dashboards.panel import Dashboard, Panel, Query, Row

_SEARCHES = (
    Panel(
        "Searches",
        "A second, by what became of them. Nothing: no passage was relevant enough (knowledge.min_score), or there are no documents.",
        (Query("sum by (outcome) (rate(freehold_retrievals_total[$__rate_interval]))", "{{outcome}}"),),
        "ops",
        stacked=True,
    ),
    Panel(
        "Searches that find something",
        "Share over five minutes. A fall after new documents or a new embedding model is worth a look.",
        (Query("freehold:retrieval_found:ratio5m", "found"),),
        "percentunit",
        most=1,
    ),
    Panel(
        "How long searches take",
        "Reading the question with the embedding model, then the index.",
        tuple(Query(f"freehold:retrieval_seconds:{quantile}", quantile) for quantile in ("p50", "p95", "p99")),
        "s",
    ),
)

_QUALITY = (
    Panel(
        "Score of the best passage",
        "Cosine similarity between the question and the nearest passage: half of the searches are above p50, nine of ten above p10.",
        tuple(
            Query(f"histogram_quantile({share}, sum by (le) (rate(freehold_retrieval_best_score_bucket[$__rate_interval]))) >= 0", name)
            for name, share in (("p50", 0.5), ("p10", 0.1))
        ),
        "percentunit",
        most=1,
        width=12,
    ),
    Panel(
        "Size of the documents",
        "Bytes of their tables, vectors and indexes included.",
        (Query("max(freehold_knowledge_bytes)", "documents"),),
        "bytes",
        width=12,
    ),
)

DASHBOARD = Dashboard(
    uid="freehold-retrieval",
    title="Freehold / Retrieval",
    about="Do searches in documents find something, how near is it, how long do they take?",
    rows=(Row("Searches", _SEARCHES), Row("Quality and size", _QUALITY)),
)
