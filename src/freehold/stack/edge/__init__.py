"""The edge as values: which routes there are, what is limited, and the nginx.conf that says so. Pure."""
