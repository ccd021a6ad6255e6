# The grid of architectures.


def architectures_files():
    """List what the section's tables and figures are made from, beside the metrics."""
    return []


rule architectures:
    """All result files of the section."""
    input:
        architectures_files(),
