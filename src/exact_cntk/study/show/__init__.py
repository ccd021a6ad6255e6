"""How results look: style of figures, texts of tables, the paper's numbers beside ours."""
