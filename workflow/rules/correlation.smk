# Few training images against all of them: the section computes nothing itself, but compares what others have.
SECTION_FILES["correlation"] = section_files("cnns") if "cnns" in PRESENT else []


rule correlation:
    """All files that the section compares beside the metrics."""
    input:
        section_files("correlation"),
