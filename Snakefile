# The workflow lies in workflow/; this file lets `snakemake` find it in the root of the checkout.
include: "workflow/Snakefile"


# An included file does not set the default target.
workflow.default_target = "all"
