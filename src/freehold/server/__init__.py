"""The HTTP API: routes by resource, wire shapes at the edge, one place for auth, errors, streams and the browser guard."""
