"""Published data sets from nothing: fetch, check, unpack, verify."""
