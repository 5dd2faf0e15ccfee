"""Films: drawn, made steady, put together."""
