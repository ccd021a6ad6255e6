# Accuracy against the number of training images: kernels, networks and standard methods on the same training sets.
from exact_cntk.study.sections.small_data.plan import method_names

SMALL = PARAMS["small_data"]
SMALL_METHODS = method_names(PARAMS)
SMALL_NETWORKS = {f"network-{one['name']}": one for one in ((SMALL or {}).get("cnns") or {"families": []})["families"]}
SECTION_FILES["small_data"] = [
    f"{RESULTS}/small_data/{name}.json" for names in SMALL_METHODS.values() for name in names
]


wildcard_constraints:
    small_kernel="|".join(map(re.escape, SMALL_METHODS["kernel"])) or "none",
    small_baseline="|".join(SMALL_METHODS["baseline"]) or "none",
    small_network="|".join(map(re.escape, SMALL_NETWORKS)) or "none",


rule small_data:
    """All result files of the section."""
    input:
        section_files("small_data"),


if SMALL is not None:

    rule small_data_kernel:
        """Regression with one kernel on all small training sets, without ridge and with that of leave-one-out."""
        input:
            fits=fits("small_data_kernel"),
            kernel=inputs_of("small_data_kernel", small_kernel_file),
            data=ancient(DATA),
            sources=sources(SMALL_KERNEL_SOURCES),
        output:
            f"{RESULTS}/small_data/{{small_kernel}}.json",
        log:
            f"{RESULTS}/logs/small_data/{{small_kernel}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/small_data/{{small_kernel}}.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=MEMORY_MB,
            max_memory_gib=MEMORY_GIB,
            runtime=240,
        params:
            options=options("small_data_kernel"),
            made_from=made_from("small_data_kernel"),
        message:
            "small_data_kernel: {wildcards.small_kernel}"
        shell:
            "exact-cntk --made-from {params.made_from} small-data kernel --kernel {input.kernel} --data {input.data}"
            " {params.options} --max-memory-gib {resources.max_memory_gib} --out {output} > {log} 2>&1"

    rule small_data_baseline:
        """A standard method on all small training sets; its settings are chosen on the training images alone."""
        input:
            fits=fits("small_data_baseline"),
            data=ancient(DATA),
            sources=sources(SMALL_BASELINE_SOURCES),
        output:
            f"{RESULTS}/small_data/{{small_baseline}}.json",
        log:
            f"{RESULTS}/logs/small_data/{{small_baseline}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/small_data/{{small_baseline}}.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=4000,
            runtime=240,
        params:
            options=options("small_data_baseline"),
            made_from=made_from("small_data_baseline"),
            checkpoint=f"{RESULTS}/checkpoints/small_data/{{small_baseline}}.json",
        message:
            "small_data_baseline: {wildcards.small_baseline}"
        shell:
            "exact-cntk --made-from {params.made_from} small-data baseline --data {input.data} {params.options}"
            " --checkpoint {params.checkpoint} --out {output} > {log} 2>&1"

    rule small_data_cnn:
        """A finite CNN on the smaller of the training sets; its learning rate is chosen on the training images alone."""
        input:
            fits=fits("small_data_cnn"),
            data=ancient(DATA),
            sources=sources(SMALL_CNN_SOURCES),
        output:
            f"{RESULTS}/small_data/{{small_network}}.json",
        log:
            f"{RESULTS}/logs/small_data/{{small_network}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/small_data/{{small_network}}.tsv"
        # Before the others, which are shorter.
        priority: 1
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=4000,
            runtime=480,
        params:
            options=options("small_data_cnn"),
            made_from=made_from("small_data_cnn"),
            checkpoint=f"{RESULTS}/checkpoints/small_data/{{small_network}}.json",
        message:
            "small_data_cnn: {wildcards.small_network}"
        shell:
            "exact-cntk --made-from {params.made_from} small-data cnn --data {input.data} {params.options}"
            " --checkpoint {params.checkpoint} --out {output} > {log} 2>&1"
