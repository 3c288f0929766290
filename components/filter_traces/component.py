"""KFP view of ``stillhouse.filtering.filter_traces``."""

from typing import List  # noqa: UP035  # kfp reads the annotation as written

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def filter_traces(
    seed: int,
    filter_config: dict,
    workspace: str,
    input_shards: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output_records: dsl.Output[dsl.Dataset],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
):
    """Verify and filter the traces of all shards; positives, negatives and dropped ones keep their reasons.

    Args:
        seed: Seed of the run.
        filter_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        input_shards: The shards of traces.
        output_records: records.parquet and train.jsonl.
        output_metrics: How many survived.
        output_report: The funnel as a page.
    """
    from stillhouse.entry import run_component

    run_component(
        "filter_traces", {**filter_config, "seed": seed}, shards=input_shards, output=output_records,
        metrics=output_metrics, report=output_report, workspace=workspace,
    )  # fmt: skip
