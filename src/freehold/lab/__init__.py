"""Evaluate, benchmark, fine-tune; and the scripted model that makes the first two repeatable."""
