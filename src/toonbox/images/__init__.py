"""Pictures: decode, convert colours, keep metadata, encode."""
