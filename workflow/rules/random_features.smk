# Empirical kernels of random finite networks.


def random_features_files():
    """List what the section's tables and figures are made from, beside the metrics."""
    return []


rule random_features:
    """All result files of the section."""
    input:
        random_features_files(),
