# Accuracy against the number of training images.


def small_data_files():
    """List what the section's tables and figures are made from, beside the metrics."""
    return []


rule small_data:
    """All result files of the section."""
    input:
        small_data_files(),
