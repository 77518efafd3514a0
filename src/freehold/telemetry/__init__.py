"""Logs, metrics, traces: set up once, used by name."""
