"""Freehold runs LLM agents on hardware you own. See ARCHITECTURE.md for the rooms."""

from importlib.metadata import version

__version__ = version("freehold")
