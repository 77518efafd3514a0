"""The HTTP API: routes by resource, wire shapes at the edge, one place for auth, errors, streams, the guard, the project's own routes."""
