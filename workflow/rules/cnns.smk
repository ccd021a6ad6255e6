# Finite CNNs, trained beside the exact kernels.


def cnns_files():
    """List what the section's tables and figures are made from, beside the metrics."""
    return []


rule cnns:
    """All result files of the section."""
    input:
        cnns_files(),
