"""The tests. Only `tests.support` is imported by name; test files are found by pytest."""
