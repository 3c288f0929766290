"""KFP view of ``stillhouse.registry.register_student``: registration and the gate."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def register_student(
    registry_name: str,
    student_model: dict,
    seed: int,
    gate_config: dict,
    workspace: str,
    input_model: dsl.Input[dsl.Model],
    input_scores: dsl.Input[dsl.Dataset],
    input_records: dsl.Input[dsl.Dataset],
    input_teacher: dsl.Input[dsl.Artifact],
    output_registration: dsl.Output[dsl.Artifact],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
) -> str:
    """Register the student as a model version and judge it against the champion.

    Args:
        registry_name: Registered model in MLflow.
        student_model: The untrained student, as in the recipe's `student`.
        seed: Seed of the run.
        gate_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        input_model: The trained student.
        input_scores: Its scores.
        input_records: The records it learned from.
        input_teacher: The teacher it learned from.
        output_registration: evidence.json and lineage.json.
        output_metrics: The gate's differences.
        output_report: The verdict as a page.

    Returns:
        `passed` or `failed`.
    """
    from stillhouse.entry import run_component

    config = {**gate_config, "name": registry_name, "student": student_model, "seed": seed}
    return run_component(
        "register_student", config, model=input_model, scores=input_scores, records=input_records,
        teacher=input_teacher, output=output_registration, metrics=output_metrics, report=output_report,
        workspace=workspace,
    ).details["verdict"]  # fmt: skip
