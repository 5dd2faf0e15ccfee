"""From photo to cartoon: one picture, a batch, a cluster."""
