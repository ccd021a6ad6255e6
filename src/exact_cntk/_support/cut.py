"""Ranges cut into pieces of one size."""


def cut(n: int, size: int) -> list[slice]:
    """Slices of `size`, the last one perhaps shorter, that make up range(n)."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
