"""The certificate of the edge: made here, taken from the user's files, or asked of a certificate authority and renewed."""
