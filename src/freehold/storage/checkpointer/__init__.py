"""LangGraph's checkpoints in Postgres: each message stored once, no process-wide lock, fenced by the run's epoch.

Also usable alone, in any LangGraph program: `from freehold.storage.checkpointer import PostgresSaver`.
"""

from freehold.storage.checkpointer.saver import PostgresSaver, create_checkpointer

__all__ = ["PostgresSaver", "create_checkpointer"]
