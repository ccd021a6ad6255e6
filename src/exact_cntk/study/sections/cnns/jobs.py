"""The jobs of the section: train a network, and put the runs of an architecture together."""

from exact_cntk.networks import Family
from exact_cntk.study.sections._run import Context
from exact_cntk.study.sections._section import Job
from exact_cntk.study.sections.cnns.gather import gather
from exact_cntk.study.sections.cnns.train import Run, train


def run(job: Job, context: Context) -> str:
    """Train one network, or gather the runs of an architecture."""
    if job.step == "gather_cnn":
        chosen = gather(context.inputs, *context.files)["rate"]
        return f"{len(context.inputs)} runs, " + ("every rate diverges" if chosen is None else f"rate {chosen:g}")
    network, parameters = Family.taken_from(job.parameters)
    study, name = parameters.pop("study"), parameters.pop("family")
    floats = {name: float(parameters[name]) for name in ("rate", "output_scale")}
    result = train(
        context.data,
        context.files[0],
        Run(name=name, network=network, **{"validation_images": 0} | parameters | floats),
        study=study,
        threads=context.threads,
        checkpoint=context.checkpoint.with_name(f"{context.checkpoint.name}.npz"),
        progress=context.progress,
        log=context.log,
    )
    accuracy = "diverged" if result["diverged"] else f"{result['split']} accuracy {result['accuracy']:.4f}"
    return f"{result['epochs']} epochs, {accuracy}"
