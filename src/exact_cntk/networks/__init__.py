"""Descriptions of networks, which everything else takes: what to compute, store, name, and what it costs."""

from exact_cntk.networks.family import KINDS, TRAINED, Family, Output, contradictions, kernel_key

__all__ = ["KINDS", "TRAINED", "Family", "Output", "contradictions", "kernel_key"]
