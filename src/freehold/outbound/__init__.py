"""Requests to addresses that clients name: resolved once, checked, and connected to exactly there."""
