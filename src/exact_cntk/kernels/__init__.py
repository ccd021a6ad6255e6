"""Kernels of infinitely wide networks: `cntk` and `ntk`, and the backends that compute them.

`reference` is the formulas in NumPy; `cpu` the compiled core in core/; `cuda` kernels for NVIDIA GPUs around it.
"""
