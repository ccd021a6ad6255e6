"""What is timed here, against whom, and how: see README.md. Run with `make bench`."""
