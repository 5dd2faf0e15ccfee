"""How cartoon-like outputs are, and how much of the photo is left in them."""
