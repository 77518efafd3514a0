"""The nouns and their rules: assistant, thread, run, event, model, errors. No I/O."""
