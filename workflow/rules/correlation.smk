# Few training images against all of them: what it compares comes from other sections.


def correlation_files():
    """List what the section's tables and figures are made from, beside the metrics."""
    return []
