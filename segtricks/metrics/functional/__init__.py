"""The measures as pure functions of tensors: they need neither torchmetrics nor Lightning, which take seconds."""
