"""Training: networks, losses, representations, data, export."""
