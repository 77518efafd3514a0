"""Speaks to the running stack over the supervisor's private socket: messages, the answering side, the asking side."""
