"""Can a small training set rank kernels? With the paper's own table."""
