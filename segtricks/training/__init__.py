"""What happens around a training: checkpoints, resuming, loggers, the bar, warnings. No method and no picture."""
