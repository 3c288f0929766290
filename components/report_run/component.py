"""KFP view of ``stillhouse.runs.report_run``: the exit handler. Its parameters are the pipeline's own."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def report_run(
    run_name: str, workspace: str, seed: int, registry_name: str,
    teacher_candidates: list, student_model: dict, data_problems: dict,
    teacher_config: dict, trace_config: dict, filter_config: dict,
    train_config: dict, eval_config: dict, gate_config: dict,
    status: dsl.PipelineTaskFinalStatus,
    output_report: dsl.Output[dsl.HTML],
):  # fmt: skip
    """Write the run's report and close its MLflow runs, whether the stages succeeded or not.

    Args:
        run_name: Folder of the run in the workspace; empty takes the name of the KFP run.
        workspace: Folder that outlives the pod.
        seed: Seed of the run.
        registry_name: As given to `register_student`.
        teacher_candidates: As given to `select_teacher`.
        student_model: As given to `train_student`.
        data_problems: As given to `generate_traces`.
        teacher_config: As given to `select_teacher`.
        trace_config: As given to `generate_traces`.
        filter_config: As given to `filter_traces`.
        train_config: As given to `train_student`.
        eval_config: As given to `evaluate_student`.
        gate_config: As given to `register_student`.
        status: How the stages ended; filled in by KFP.
        output_report: The report of the whole run, one self-contained page.
    """
    from stillhouse.runs import report_run as report

    report({key: value for key, value in locals().items() if key not in ("status", "output_report", "report")},
           name=run_name or status.pipeline_job_resource_name, failed=status.state != "SUCCEEDED",
           error=status.error_message or "", page=output_report.path)  # fmt: skip
