"""What survives: Postgres. SQL in queries/ and migrations/, the checkpointer, one module per noun."""
