"""Containers, described by one Compose file that people can read, compare and run by themselves."""
