"""Solvers for kernels that are too large for LAPACK in memory: tiles on a GPU, or on disk.

`tiled` has the algorithms, once for both; `stores` where tiles lie; `arrays` what is done to a tile, by NumPy or torch;
`choice` which solver is taken, and what it needs; `checkpoint` keeps the finished ridges of an interrupted path.
"""
