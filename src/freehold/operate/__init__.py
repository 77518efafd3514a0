"""Procedures over a machine and a running stack; a project as an image or a bundle (build/)."""
