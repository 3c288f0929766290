"""What each process of a TrainJob runs: ``torchrun ... -m stillhouse.training.worker CALL.json``.

The call is written by whoever starts the processes, into the workspace that all of them see. The first process runs
the stage ``train_student`` as anybody would; the others take part in its training and write nothing. A process that
ends with an error of the tree leaves it beside the call, because torchrun and Kubernetes keep no more than "exit 1".
Knows nothing of Kubernetes; importing it loads no torch.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stillhouse.errors import EXIT_OK, RecipeError, StillhouseError, TransientError

CALL_NAME = "call.json"
_ERROR_NAME = "error-{}.json"
_FAMILIES: dict[str, type[StillhouseError]] = {"RecipeError": RecipeError, "TransientError": TransientError}


class Call(BaseModel):
    """One call of the stage ``train_student``: its config and its paths, the same on every node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: dict[str, Any]
    records: Path
    teacher: Path
    output: Path
    workspace: Path

    def write(self, path: Path) -> None:
        """Write the call whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Call:
        """Read what ``write`` wrote.

        Raises:
            RecipeError: nothing is there, or no call.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError) as error:
            cause = "no such file" if isinstance(error, FileNotFoundError) else "is no call of train_student"
            raise RecipeError(
                f"{path}: {cause}; the launcher writes it, so launcher and nodes must mount the same workspace and "
                "run the same version"
            ) from error


def work(path: Path) -> int:
    """Do this process's part of the call at ``path``; the exit code by the error tree. Errors are left beside it."""
    try:
        _part(Call.read(path), path.parent)
    except StillhouseError as error:
        print(f"train_student: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        _leave(path.parent, error)
        return error.exit_code
    return EXIT_OK


def left_error(folder: Path) -> StillhouseError | None:
    """The error that the processes of the last attempt left in ``folder``: one that no retry can help counts first."""
    found: list[StillhouseError] = []
    for path in sorted(folder.glob(_ERROR_NAME.format("*"))):
        try:
            left = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):  # a new attempt removes it, or it is being written
            continue
        found.append(_FAMILIES[left["family"]](left["text"]))
    return min(found, key=lambda error: error.exit_code, default=None)


def clear_errors(folder: Path) -> None:
    """Remove the errors of earlier attempts."""
    for path in folder.glob(_ERROR_NAME.format("*")):
        path.unlink(missing_ok=True)


def _part(call: Call, folder: Path) -> None:
    from stillhouse.training.distributed import joined
    from stillhouse.training.stage import follow, run

    with joined() as group:
        if not group.is_main:
            follow(call.config, records=call.records, teacher=call.teacher, group=group)
            return
        clear_errors(folder)
        run(
            call.config,
            records=call.records,
            teacher=call.teacher,
            output=call.output,
            workspace=call.workspace,
            group=group,
        )


def _leave(folder: Path, error: StillhouseError) -> None:
    from stillhouse.training.distributed import PeerLost

    family = next((name for name, cls in _FAMILIES.items() if isinstance(error, cls)), None)
    if family is None or isinstance(error, PeerLost) or not folder.is_dir():
        return
    target = folder / _ERROR_NAME.format(os.environ.get("RANK", "0"))
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps({"family": family, "text": str(error)}) + "\n", encoding="utf-8")
    partial.replace(target)


def main() -> None:
    """Entry point; a process that failed ends at once, without waiting for the ones that it was connected to."""
    if len(sys.argv) != 2:
        print("usage: python -m stillhouse.training.worker CALL.json", file=sys.stderr)
        raise SystemExit(RecipeError.exit_code)
    code = work(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    if code != EXIT_OK:
        os._exit(code)


if __name__ == "__main__":
    main()
