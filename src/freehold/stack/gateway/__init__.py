"""What the gateway (LiteLLM) reads: its configuration from typed values, and natively the file that knows our keys."""
