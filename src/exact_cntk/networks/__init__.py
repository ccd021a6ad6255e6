"""Descriptions of networks, which everything else takes: what there is to compute, to name and to cost."""

from exact_cntk.networks.family import KINDS, Family, Output

__all__ = ["KINDS", "Family", "Output"]
