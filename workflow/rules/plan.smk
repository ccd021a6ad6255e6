# What a run says before it starts and when it fails.


def check_results():
    """Refuse to start a run where results could not be written."""
    from exact_cntk._support.machine import require_writable

    try:
        for folder in (RESULTS, Path(DATA).parent):
            require_writable(Path(folder), "make it writable, or work in another folder: `snakemake --directory`")
    except UserError as error:
        raise WorkflowError(str(error)) from None


def describe_plan():
    """Say what the jobs still to run take here: a line for the blocks of kernels, and one for each section."""
    from exact_cntk.study.rates import Rates
    from exact_cntk.study.sections._collect import costly_sections

    rates = Rates(0.25)
    sections = (describe_section(key, rates) for key in costly_sections(PARAMS))
    return "\n".join([describe_blocks(), *filter(None, sections)])


def describe_blocks():
    """Say what the blocks still to compute take: on a CPU measured in half a second, else expected."""
    from exact_cntk.study.estimate import expected_seconds, format_count, format_time

    blocks = [job.wildcards for job in workflow.dag.needrun_jobs() if job.rule.name == "kernel_block"]
    if not blocks:
        return f"{PARAMS['study']}: no kernel to compute"
    pairs = dict.fromkeys(PASSES, 0)
    for block in blocks:
        pairs[block.kernel_id] += block_position(block).pairs
    backend = backend_here()
    try:
        seconds = expected_seconds(PARAMS, pairs, backend, calibration_seconds=0.5)
    except UserError as error:  # the jobs that it stops say it again
        return f"{PARAMS['study']}: no estimate, {error}"
    return (
        f"{PARAMS['study']}: {format_count(sum(pairs.values()))} pairs of images in {len(blocks)} blocks, "
        f"about {format_time(seconds)} on backend {backend}"
    )


def backend_here():
    """Settle the backend of kernels on this machine: the parameters', or that of a GPU that may be used, or the CPU."""
    from exact_cntk.kernels.backends import choose_backend

    gpus = workflow.global_resources.get("gpu")
    if ASKED_FOR != "auto":
        return ASKED_FOR
    return "cpu" if gpus is not None and gpus.value == 0 else choose_backend()[0]


def describe_section(key, rates):
    """Say what a section's jobs still to run take, as a share of all of them; nothing if there are none."""
    from exact_cntk.study.estimate import format_time
    from exact_cntk.study.sections._collect import section_work

    # its own rules are in a file of its name; the one that only lists their files has no output
    jobs = [job for job in workflow.dag.jobs if job.output and Path(job.rule.snakefile).stem == key]
    left = set(jobs) & set(workflow.dag.needrun_jobs())
    if not left:
        return ""
    try:
        seconds = rates.seconds(section_work(PARAMS, key)) * len(left) / len(jobs)
    except UserError as error:
        return f"{PARAMS['study']}: no estimate of {key}, {error}"
    return f"{PARAMS['study']}: {len(left)} jobs of {key}, about {format_time(seconds)}"


def describe_failure():
    """Say how to go on, and name the disks that are full, for what a job writes to its log is then lost as well."""
    from exact_cntk._support.machine import free_disk

    full = [folder for folder in (RESULTS, str(Path(DATA).parent), ".snakemake") if free_disk(Path(folder)) < 2**20]
    reason = f"no space left on the disk of {' and '.join(full)}; free some. " if full else ""
    return f"{PARAMS['study']}: {reason}Finished files stay: the same command goes on from there."
