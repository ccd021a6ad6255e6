# Few training images against all of them: the section computes nothing itself, but compares what others have.


def correlation_files():
    """List the trained networks, if the study has any: what is compared beside the metrics."""
    return section_files("cnns") if "cnns" in PRESENT else []


rule correlation:
    """All files that the section compares beside the metrics."""
    input:
        correlation_files(),
