"""Where chunks are searched: one file per backend behind the contract of base.py."""
