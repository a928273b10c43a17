"""Published datasets from nothing: fetch, check, unpack, verify."""
