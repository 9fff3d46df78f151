"""Schema Registry and XDM."""
