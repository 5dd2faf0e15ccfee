"""Surface, structure and texture representations (Wang & Yu 2020), and the drawn target."""
