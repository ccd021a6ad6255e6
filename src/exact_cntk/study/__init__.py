"""A study around the kernels: solved problems with their provenance, cost estimates, tables, figures and the report."""
