"""Documents: load, split, embed, index, retrieve, cite; a file per step, index backends in index/."""
