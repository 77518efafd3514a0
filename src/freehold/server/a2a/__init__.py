"""A2A: agents that talk to other agents. A context is a thread, a task is a run."""
