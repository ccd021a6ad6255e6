"""Section zero: accuracies of the study's own kernels, compared with the paper's table."""
