"""What a run leaves to read and to look at: metrics.csv, tables, curves and pictures."""
