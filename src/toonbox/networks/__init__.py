"""The generators, the discriminators and the frozen feature networks."""
