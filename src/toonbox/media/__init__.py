"""Files of pictures and what is inside them."""
