"""What survives: Postgres. SQL in queries/ and migrations/, the checkpointer, the store, one module per noun."""
