"""KFP view of ``stillhouse.evaluation.evaluate_student``."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def evaluate_student(
    student_model: dict,
    seed: int,
    eval_config: dict,
    workspace: str,
    input_model: dsl.Input[dsl.Model],
    input_teacher: dsl.Input[dsl.Artifact],
    output_scores: dsl.Output[dsl.Dataset],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
):
    """Measure the student before and after, the control and the teacher on the same held-out items.

    Args:
        student_model: The untrained student, as in the recipe's `student`.
        seed: Seed of the run.
        eval_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        input_model: The trained student.
        input_teacher: The chosen teacher.
        output_scores: scores.json (every item, every arm) and samples.jsonl (every reply).
        output_metrics: Accuracy with standard error, truncation rate, tokens per answer.
        output_report: Before and after as a page.
    """
    from stillhouse.entry import run_component

    run_component(
        "evaluate_student", {**eval_config, "student": student_model, "seed": seed}, model=input_model,
        teacher=input_teacher, output=output_scores, metrics=output_metrics, report=output_report,
        workspace=workspace,
    )  # fmt: skip
