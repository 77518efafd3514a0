"""`python -m freehold`: the same as the `freehold` program."""

from freehold.cli.main import run

if __name__ == "__main__":
    run()
