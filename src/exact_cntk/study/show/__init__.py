"""How results look: style of figures, texts of tables, published numbers."""
