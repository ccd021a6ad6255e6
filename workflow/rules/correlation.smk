# Few training images against all of them: the section computes nothing itself, but compares what others have.
# The parameters are there in a study without networks as well: given no file at all, the verb and the notebook would take
# those of networks that the study had before.
SECTION_FILES["correlation"] = [*section_files("cnns"), f"{RESULTS}/cnns/parameters.yaml"]


rule correlation:
    """All files that the section compares beside the metrics."""
    input:
        section_files("correlation"),
