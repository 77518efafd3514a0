"""One file per service: how its program is called and how one sees that it is well."""
