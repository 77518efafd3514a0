"""Faults from a seed against real processes, and a checker of what was left behind."""
