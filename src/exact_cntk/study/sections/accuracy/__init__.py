"""Section zero: accuracies of the study's own kernels, and the paper's table beside them."""
