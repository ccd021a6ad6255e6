# Random features: kernels of random finite networks, and the exact kernels of the same images.
from exact_cntk.study.sections.random_features.plan import random_features_names
from exact_cntk.study.sections.random_features.cost import expected_memory

FEATURES = PARAMS["random_features"]
FEATURES_FAMILIES = {
    one["name"]: one for one in KERNELS["families"] if one["name"] in (FEATURES or {}).get("families", [])
}
SECTION_FILES["random_features"] = [f"{RESULTS}/random_features/{name}.json" for name in random_features_names(PARAMS)]


wildcard_constraints:
    features_family="|".join(map(re.escape, FEATURES_FAMILIES)) or "none",
    draw=r"\d\d+",


rule random_features:
    """All result files of the section."""
    input:
        section_files("random_features"),


if FEATURES is not None:

    rule random_features_draw:
        """Regression on the features of one random network of each depth, along the ridge path, in both precisions."""
        input:
            fits=fits("random_features_draw"),
            data=ancient(DATA),
            sources=sources(NETWORK_SOURCES),
        output:
            f"{RESULTS}/random_features/{{features_family}}-draw-{{draw}}.json",
        log:
            f"{RESULTS}/logs/random_features/{{features_family}}-draw-{{draw}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/random_features/{{features_family}}-draw-{{draw}}.tsv"
        conda:
            "../../environment.yml"
        threads: features_threads
        resources:
            gpu=features_gpu,
            mem_mb=expected_memory(PARAMS) // 2**20 + 1000,
            runtime=240,
        params:
            options=options("random_features_draw"),
            made_from=made_from("random_features_draw"),
        message:
            "random_features_draw: {wildcards.features_family}, draw {wildcards.draw}"
        shell:
            # `--resources gpu=0` hides any GPU.
            "device=auto; if [ {resources.gpu} = 0 ]; then device=cpu; fi; "
            "exact-cntk --made-from {params.made_from} random-features draw --data {input.data} {params.options}"
            " --device $device --out {output} > {log} 2>&1"

    rule random_features_exact:
        """Regression with a family's exact kernels on the images of the draws, in the same way."""
        input:
            fits=fits("random_features_exact"),
            data=ancient(DATA),
            kernels=inputs_of("random_features_exact", exact_kernels),
            sources=sources(FEATURES_SOURCES),
        output:
            f"{RESULTS}/random_features/{{features_family}}-exact.json",
        log:
            f"{RESULTS}/logs/random_features/{{features_family}}-exact.log",
        benchmark:
            f"{RESULTS}/benchmarks/random_features/{{features_family}}-exact.tsv"
        conda:
            "../../environment.yml"
        threads: features_solve_threads
        resources:
            gpu=0,
            mem_mb=expected_memory(PARAMS) // 2**20 + 1000,
            runtime=240,
        params:
            options=options("random_features_exact"),
            made_from=made_from("random_features_exact"),
        message:
            "random_features_exact: {wildcards.features_family}"
        shell:
            "exact-cntk --made-from {params.made_from} random-features exact --data {input.data} {params.options}"
            " --out {output} {input.kernels} > {log} 2>&1"


if FEATURES is not None and FEATURES["sweep"] is not None:

    rule random_features_sweep:
        """Deviation of empirical kernels from the exact one against width, with the fitted slope."""
        input:
            fits=fits("random_features_sweep"),
            data=ancient(DATA),
            sources=sources(SWEEP_SOURCES),
        output:
            f"{RESULTS}/random_features/{{features_family}}-sweep.json",
        log:
            f"{RESULTS}/logs/random_features/{{features_family}}-sweep.log",
        benchmark:
            f"{RESULTS}/benchmarks/random_features/{{features_family}}-sweep.tsv"
        conda:
            "../../environment.yml"
        threads: features_threads
        resources:
            gpu=features_gpu,
            mem_mb=expected_memory(PARAMS) // 2**20 + 1000,
            runtime=240,
        params:
            options=options("random_features_sweep"),
            made_from=made_from("random_features_sweep"),
        message:
            "random_features_sweep: {wildcards.features_family}"
        shell:
            "device=auto; if [ {resources.gpu} = 0 ]; then device=cpu; fi; "
            "exact-cntk --made-from {params.made_from} random-features sweep --data {input.data} {params.options}"
            " --device $device --out {output} > {log} 2>&1"
