"""MCP: assistants as tools for other programs' models."""
