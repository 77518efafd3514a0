"""Real servers as child processes of a small supervisor: no Docker, nothing preinstalled but Python."""
