"""KFP view of ``stillhouse.registry.promote_student``: what follows a passed gate."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def promote_student(
    registry_name: str,
    student_model: dict,
    seed: int,
    gate_config: dict,
    workspace: str,
    input_registration: dsl.Input[dsl.Artifact],
    output_promotion: dsl.Output[dsl.Artifact],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
):
    """Make the student the champion, or leave it as challenger where the recipe says that people decide.

    Args:
        registry_name: Registered model in MLflow.
        student_model: The untrained student, as in the recipe's `student`.
        seed: Seed of the run.
        gate_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        input_registration: Version and evidence.
        output_promotion: What was done.
        output_metrics: The version's number.
        output_report: The promotion as a page.
    """
    from stillhouse.entry import run_component

    config = {**gate_config, "name": registry_name, "student": student_model, "seed": seed}
    run_component(
        "promote_student", config, registration=input_registration, output=output_promotion,
        metrics=output_metrics, report=output_report, workspace=workspace,
    )  # fmt: skip
