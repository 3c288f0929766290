"""KFP view of ``stillhouse.generation.generate_traces``: one shard."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("generate"), install_kfp_package=False)
def generate_traces(
    data_problems: dict,
    seed: int,
    trace_shard: int,
    trace_config: dict,
    workspace: str,
    input_teacher: dsl.Input[dsl.Artifact],
    output_traces: dsl.Output[dsl.Dataset],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
):
    """Ask the teacher for the traces of one shard; what the trace store already holds is not asked again.

    Args:
        data_problems: Training problems, as in the recipe's `data.problems`.
        seed: Seed of the run.
        trace_shard: Which shard, counted from 0.
        trace_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        input_teacher: The chosen teacher.
        output_traces: traces.parquet and problems.parquet of this shard.
        output_metrics: Traces, tokens and speed.
        output_report: The shard as a page.
    """
    from stillhouse.entry import run_component

    run_component(
        "generate_traces", {**trace_config, "problems": data_problems, "seed": seed}, shard=int(trace_shard),
        teacher=input_teacher, output=output_traces, metrics=output_metrics, report=output_report,
        workspace=workspace,
    )  # fmt: skip
