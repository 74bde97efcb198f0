"""Cells as jobs of Slurm, through submitit: one job array, requeued after a timeout or preemption.

Runs on one machine do not go through `submitit.LocalExecutor`: it starts all jobs at once, hides
the GPUs unless each is named by a number, ends a job by a SIGINT that whatever a shell started in
the background ignores, and keeps no exit code.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from submitit import Job, SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
from submitit.helpers import Checkpointable, as_completed

from clmer.errors import ConfigError
from clmer.experiments.runner import ELSEWHERE, FAILED, Ended, Outcome, Training

_POLL_S = 5
#: How often a job that ran out of time is requeued; a preempted one always is.
_TIMEOUTS = 20


class CellJob(Checkpointable):
    """A training within its job; requeued, the same call continues the run."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def __call__(self) -> Outcome:
        """Run the process to its end."""
        training = replace(self.training)  # self is saved again when the job is requeued
        try:
            if not training.start(preexec_fn=_leave_signals):
                return ELSEWHERE
        except OSError as error:
            return Outcome(FAILED, str(error))
        try:
            outcome = training.ended(wait=True)
        except UncompletedJobError as error:  # submitit requeues it no more
            return Outcome(FAILED, str(error))
        finally:
            training.process.kill()
        assert outcome is not None
        return outcome


def _leave_signals() -> None:
    # Slurm signals every process of a job; this one, submitit's, answers for all.
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class Slurm:
    """Where a job array goes.

    Args:
        folder: of submitit's files; every node sees it.
        minutes: of a job.
        options: of sbatch otherwise, by name; True for one without a value.
        jobs: at a time; 0 for as many as Slurm starts.
    """

    folder: Path
    minutes: int
    options: Mapping[str, str | bool]
    jobs: int = 0

    @classmethod
    def parse(cls, texts: Sequence[str], folder: Path, jobs: int) -> Slurm:
        """Read `NAME=VALUE`, or `NAME` alone, of each option of sbatch.

        Raises:
            ConfigError: a job's time is missing or not in minutes; there is no Slurm here.
        """
        pairs = [text.partition("=") for text in texts]
        options = {name.replace("-", "_"): value if sign else True for name, sign, value in pairs}
        minutes = str(options.pop("time", "nothing"))
        if not minutes.isdecimal() or int(minutes) == 0:
            raise ConfigError(f"`slurm` time: found {minutes}, expected a job's minutes: time=720")
        missing = [name for name in ("sbatch", "srun", "sacct") if shutil.which(name) is None]
        if missing:
            found = f"no {', '.join(missing)}"
            raise ConfigError(f"`cluster=slurm`: found {found}, expected Slurm's commands")
        return cls(folder, int(minutes), options, jobs)

    def run(self, trainings: Sequence[Training]) -> Ended:
        """Submit trainings, wait for them, and cancel what is left where this is interrupted.

        Raises:
            ConfigError: sbatch refuses the jobs.
        """
        if not trainings:
            return
        jobs = dict(zip(self._submit(trainings), trainings, strict=True))
        try:
            for job, training in jobs.items():
                place = f"Slurm job {job.job_id} ({training.log})"
                print(f"{training.number}: {training.name}: {place}", flush=True)
            for job in as_completed(list(jobs), poll_frequency=_POLL_S):
                yield jobs[job], _outcome(job)
        except BaseException:
            for job in jobs:
                job.cancel(check=False)
            raise

    def _submit(self, trainings: Sequence[Training]) -> list[Job[Outcome]]:
        executor = SlurmExecutor(self.folder, max_num_timeout=_TIMEOUTS)
        executor.update_parameters(
            job_name="clmer",
            time=self.minutes,
            array_parallelism=self.jobs or len(trainings),
            stderr_to_stdout=True,
            additional_parameters=dict(self.options),
        )
        try:
            return executor.submit_array([CellJob(each) for each in trainings])
        except (FailedJobError, FailedSubmissionError) as error:
            raise ConfigError(f"`cluster=slurm`: sbatch: {error}") from error


def _outcome(job: Job[Outcome]) -> Outcome:
    try:
        return job.result()
    except UncompletedJobError:
        message = f"Slurm job {job.job_id} ended without a result; it printed {job.paths.stdout}"
        return Outcome(FAILED, message, f"({job.state})")
