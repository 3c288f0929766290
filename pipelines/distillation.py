"""The pipeline ``distillation``: six stages, a gate, and an exit handler that always reports."""

from kfp import dsl

from components.evaluate_student.component import evaluate_student
from components.filter_traces.component import filter_traces
from components.generate_traces.component import generate_traces
from components.images import VERSION
from components.promote_student.component import promote_student
from components.register_student.component import register_student
from components.report_run.component import report_run
from components.select_teacher.component import select_teacher
from components.train_student.component import train_student


@dsl.pipeline(
    name="distillation",
    description=f"Distil a reasoning teacher into a small, gated, registered student. stillhouse {VERSION}",
)
def distillation(
    teacher_candidates: list,
    student_model: dict,
    data_problems: dict,
    registry_name: str,
    workspace: str,
    seed: int,
    trace_shards: list,
    teacher_config: dict,
    trace_config: dict,
    filter_config: dict,
    train_config: dict,
    eval_config: dict,
    gate_config: dict,
    run_name: str = "",
):
    """Distil a reasoning teacher into a small, gated, registered student.

    `stillhouse run` and `stillhouse submit` fill all parameters from a recipe.

    Args:
        teacher_candidates: Teachers to compare, each as in the recipe's `teacher.candidates`.
        student_model: The model that learns, as in the recipe's `student`.
        data_problems: Training problems, as in the recipe's `data.problems`.
        registry_name: Registered model in MLflow.
        workspace: Folder that outlives the pods: finished stages, the trace store, checkpoints.
        seed: Seed of everything random.
        trace_shards: Numbers of the shards of generation, from 0; as many as `trace_config.traces.shards`.
        teacher_config: How candidates are compared (select_teacher).
        trace_config: How traces are asked for (generate_traces).
        filter_config: Annotators and selectors (filter_traces).
        train_config: Objective, optimizer, checkpoints (train_student).
        eval_config: Benchmarks and sampling (evaluate_student).
        gate_config: Conditions of promotion (register_student, promote_student).
        run_name: Folder of this run in the workspace; empty takes the name of the KFP run.
    """
    common = {"seed": seed, "workspace": workspace}
    report = report_run(
        run_name=run_name, registry_name=registry_name, teacher_candidates=teacher_candidates,
        student_model=student_model, data_problems=data_problems, teacher_config=teacher_config,
        trace_config=trace_config, filter_config=filter_config, train_config=train_config,
        eval_config=eval_config, gate_config=gate_config, **common,
    )  # fmt: skip
    report.set_caching_options(False)
    with dsl.ExitHandler(report, name="stages"):
        choice = select_teacher(
            teacher_candidates=teacher_candidates, student_model=student_model, data_problems=data_problems,
            teacher_config=teacher_config, **common,
        )  # fmt: skip
        with dsl.If(choice.outputs["Output"] == "distil", name="worth-distilling"):
            teacher = choice.outputs["output_teacher"]
            with dsl.ParallelFor(trace_shards, name="shards") as shard:
                traces = generate_traces(
                    data_problems=data_problems, trace_shard=shard, trace_config=trace_config,
                    input_teacher=teacher, **common,
                )  # fmt: skip
            records = filter_traces(
                filter_config=filter_config, input_shards=dsl.Collected(traces.outputs["output_traces"]), **common
            ).outputs["output_records"]
            model = train_student(
                student_model=student_model, train_config=train_config, train_dataset=records,
                input_teacher=teacher, **common,
            ).outputs["output_model"]  # fmt: skip
            scores = evaluate_student(
                student_model=student_model, eval_config=eval_config, input_model=model, input_teacher=teacher, **common
            ).outputs["output_scores"]
            registration = register_student(
                registry_name=registry_name, student_model=student_model, gate_config=gate_config,
                input_model=model, input_scores=scores, input_records=records, input_teacher=teacher, **common,
            )  # fmt: skip
            # Not a function of its inputs: the champion may have changed. It is idempotent instead.
            registration.set_caching_options(False)
            with dsl.If(registration.outputs["Output"] == "passed", name="gate"):
                promote_student(
                    registry_name=registry_name, student_model=student_model, gate_config=gate_config,
                    input_registration=registration.outputs["output_registration"], **common,
                ).set_caching_options(False)  # fmt: skip
