"""Freehold runs LLM agents on hardware you own. See ARCHITECTURE.md for the rooms."""
