"""Kernel regression along a ridge path, and solvers for kernels of every size."""
