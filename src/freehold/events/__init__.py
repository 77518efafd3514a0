"""What streams: append, read after an id, close. Redis or Valkey streams."""
