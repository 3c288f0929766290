"""KFP view of ``stillhouse.training.train_student``."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def train_student(
    student_model: dict,
    seed: int,
    train_config: dict,
    workspace: str,
    train_dataset: dsl.Input[dsl.Dataset],
    input_teacher: dsl.Input[dsl.Artifact],
    output_model: dsl.Output[dsl.Model],
    output_metrics: dsl.Output[dsl.Metrics],
    output_report: dsl.Output[dsl.HTML],
):
    """Train the student (and the control, where the recipe asks for one); a killed task goes on from its checkpoint.

    On more than one node a TrainJob trains, and this task starts it and waits for its end.

    Args:
        student_model: Where training starts, as in the recipe's `student`.
        seed: Seed of the run.
        train_config: The other fields of the stage's config.
        workspace: Folder that outlives the pod.
        train_dataset: The filtered records.
        input_teacher: The chosen teacher; loaded only by objectives that need its logits.
        output_model: model/ (and control/), as written by `save_pretrained`.
        output_metrics: Losses, steps and tokens.
        output_report: Loss curves as a page.
    """
    from stillhouse.launch.trainjob import run_component

    run_component(
        "train_student", {**train_config, "student": student_model, "seed": seed}, records=train_dataset,
        teacher=input_teacher, output=output_model, metrics=output_metrics, report=output_report,
        workspace=workspace,
    )  # fmt: skip
