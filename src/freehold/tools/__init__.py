"""The tools agents get, one file each, all through one wrapper (base.py): timeout, log row, metric, errors as text."""
