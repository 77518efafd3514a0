"""Users' agents from langgraph.json, and the agents we ship (agents/)."""
