"""Model servers for this machine: found, fetched or built. A file per engine, each with `ensure(cache, progress)`."""
