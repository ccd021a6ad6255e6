"""Descriptions of networks, which everything else takes: what there is to compute, to store, to name and to cost."""

from exact_cntk.networks.family import KINDS, TRAINED, Family, Output, contradictions, kernel_key

__all__ = ["KINDS", "TRAINED", "Family", "Output", "contradictions", "kernel_key"]
