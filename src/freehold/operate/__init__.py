"""Procedures over a machine and a running stack."""
