"""What travels over HTTP, one module per resource: bodies parsed at the edge, rows turned into the SDK's shapes."""
