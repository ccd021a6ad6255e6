"""Kernels of random finite networks beside the exact ones."""
