"""What users write: freehold.toml (typed, annotated), and env.py, the only reader of the environment."""
