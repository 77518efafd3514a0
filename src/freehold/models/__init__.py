"""What models there are, what they need and how to get them: catalogue, memory, engine arguments, downloads."""
