# Exact convolutional neural tangent kernels: from raw images to the report of one study.
#   snakemake --cores 2                                               the study of params.yaml
#   snakemake --cores 2 cntk_v --configfile config/cifar10-2k.yaml    of another study, the kernels of one family
# The few flags that are always wanted are in profiles/default/config.yaml, which loads by itself.
from snakemake.utils import min_version

min_version("9.0")


configfile: "params.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/statements.smk"
include: "workflow/rules/made_from.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/kernels.smk"
include: "workflow/rules/solve.smk"
include: "workflow/rules/sections.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.report.input.notebooks,
        METRICS + PAGES + SHOWN + SECTION_PARAMETERS,


report: "workflow/report/workflow.rst"


onstart:
    print(describe_plan(), file=sys.stderr)


onerror:
    print(describe_failure(), file=sys.stderr)
