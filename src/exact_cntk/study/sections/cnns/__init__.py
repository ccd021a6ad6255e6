"""Finite CNNs, trained beside the exact kernels."""
