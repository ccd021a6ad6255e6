"""Kernels, networks and standard methods on the same small training sets."""
