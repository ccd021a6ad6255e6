"""Campaigns of minutes to hours, which `make soak` runs and `make test` does not: much that may go wrong, at random."""
