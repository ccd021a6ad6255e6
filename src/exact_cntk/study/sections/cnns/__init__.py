"""Trained finite CNNs, compared with the exact kernels."""
