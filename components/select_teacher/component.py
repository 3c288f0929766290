"""KFP view of ``stillhouse.selection.select_teacher``."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("generate"), install_kfp_package=False)
def select_teacher(
    teacher_candidates: list,
    student_model: dict,
    data_problems: dict,
    seed: int,
    teacher_config: dict,
    workspace: str,
    output_teacher: dsl.Output[dsl.Artifact],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
) -> str:
    """Compare the candidates on a held-out probe and choose the teacher, or none.

    Args:
        teacher_candidates: Teachers to compare, each as in the recipe's `teacher.candidates`.
        student_model: The student they are to teach, as in the recipe's `student`.
        data_problems: Where the probe is taken from, as in the recipe's `data.problems`.
        seed: Seed of the run.
        teacher_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        output_teacher: teacher.json, the probe's replies and the ranking.
        output_metrics: Accuracy and cost of each candidate.
        output_report: The ranking as a page.

    Returns:
        `distil` or `do_not_distil`.
    """
    from stillhouse.entry import run_component

    config = {**teacher_config, "candidates": teacher_candidates, "student": student_model, "problems": data_problems}
    return run_component(
        "select_teacher", {**config, "seed": seed}, output=output_teacher, metrics=output_metrics,
        report=output_report, workspace=workspace,
    ).details["decision"]  # fmt: skip
