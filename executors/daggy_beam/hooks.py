"""Where a program meets Beam: the task's runner and options, submissions that are noted, jobs that are taken up."""

from __future__ import annotations

import functools
import re
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

from daggy_beam.choices import Complaint, inject
from daggy_beam.jobs import (
    ANSWER,
    ENDED,
    WELL,
    Job,
    JobError,
    ServiceJob,
    connected,
    earlier,
    require_service,
    service_at,
)
from daggy_beam.note import Note, say

AWAY = 5.0
"""Seconds that a job service is waited for of which nothing but an end is wanted."""

FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""In full: older Beams do not know it by its name alone."""


class Work:
    """The pipelines of one program, one after the other.

    Args:
        order: The task's settings.
        note: Where to tell what is known.
        before: The jobs that the attempt before has noted, one a pipeline.
        name: Of the first job; the others' have numbers.
    """

    def __init__(self, order: Dict[str, Any], note: Note, before: List[Dict[str, Any]], name: str) -> None:
        self.order, self.note, self.before, self.name = order, note, before, name
        self.begun, self.jobs = 0, {}  # type: int, Dict[int, Job]
        self.made = -1  # the number of the newest pipeline that was made for Dataflow
        self.ready, self.ending, self.submitting = threading.Event(), threading.Event(), threading.Lock()
        self.here = threading.local()

    def install(self) -> None:
        """Wrap what Beam's programs call."""
        from apache_beam.pipeline import Pipeline
        from apache_beam.runners.portability.portable_runner import JobServiceHandle

        made, run, handle = Pipeline.__init__, Pipeline.run, JobServiceHandle.__init__
        work = self

        def init(pipeline: Any, runner: Any = None, options: Any = None, argv: Any = None, **more: Any) -> None:
            if not getattr(work.here, "inside", False):
                runner, options = work.chosen(runner, options, argv)
            made(pipeline, runner, options, argv, **more)

        def watched(pipeline: Any, *args: Any, **more: Any) -> Any:
            if getattr(work.here, "inside", False):  # Beam runs a copy of the pipeline
                return run(pipeline, *args, **more)
            work.here.inside = True
            try:
                return work.run(pipeline, lambda: run(pipeline, *args, **more))
            finally:
                work.here.inside = False

        def handled(handle_: Any, job_service: Any, options: Any, *args: Any, **more: Any) -> None:
            handle(handle_, Submission(work, job_service, options), options, *args, **more)

        Pipeline.__init__, Pipeline.run, JobServiceHandle.__init__ = init, watched, handled
        self.ready.set()

    def chosen(self, runner: Any, options: Any, argv: Any) -> Any:
        """Return the runner and the options of a pipeline that is being made: the task's over the program's."""
        from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
        from apache_beam.runners.runner import create_runner

        options = PipelineOptions(argv or []) if options is None else options
        name = self.order["runner"]
        if name.lower() in ("fnapirunner", "fnapi"):
            name = FN_API
        if name:
            try:
                runner = create_runner(name)
            except ValueError as error:
                if "." in name:
                    raise Complaint("runner: '%s' cannot be made: %s" % (name, error)) from None
                known = ", ".join(StandardOptions.KNOWN_RUNNER_NAMES)
                raise Complaint("runner: Beam has no runner '%s'; there are: %s" % (name, known)) from None
            except (ImportError, AttributeError) as error:
                raise Complaint("runner: '%s' cannot be loaded: %s" % (name, error)) from None
            options.view_as(StandardOptions).runner = name
        inject(options, self.order["options"], described)
        if "dataflow" in str(name or options.view_as(StandardOptions).runner).lower():
            self.made += 1
            options.view_as(GoogleCloudOptions).job_name = cloud_name(self.name, self.made)
        return runner, options

    def run(self, pipeline: Any, submit: Callable[[], Any]) -> Any:
        """Run a pipeline, or take up the job that the attempt before has left of it; return Beam's result."""
        from apache_beam.runners.portability.portable_runner import PortableRunner

        number = self.here.number = self.begun
        self.begun += 1
        endpoint = endpoint_of(pipeline.options) if isinstance(pipeline.runner, PortableRunner) else ""
        told = {"runner": type(pipeline.runner).__name__, "endpoint": endpoint, "state": "STARTING", "metrics": {}}
        self.tell(number, job_id="", metrics_left_out=None, **told)
        left = self.before[number] if number < len(self.before) else {}
        if endpoint and left.get("endpoint") == endpoint:
            result = self.take_up(number, left)
            if result is not None:
                return result
        if endpoint:
            require_service(endpoint)
            far_loopback(pipeline.options, endpoint)
        else:
            self.tell(number, state="RUNNING")  # such a runner may not return before its job has ended
        try:
            result = submit()
        except Exception:
            if number not in self.jobs:
                self.jobs[number] = Job(self.teller(number))
                self.jobs[number].end("FAILED")
                raise
            result = result_of(self.jobs[number])  # it was submitted, only Beam cannot look at it
        return self.follow(number, result)

    def tell(self, number: int, **changes: Any) -> None:
        """Note something about a pipeline, if it is the newest."""
        if number == self.begun - 1:
            self.note.tell(**changes)

    def teller(self, number: int) -> Callable[..., None]:
        """Return what is told changes of a pipeline's job."""
        return functools.partial(self.tell, number)

    def named(self, number: int) -> str:
        """Return the name of a pipeline's job."""
        return "%s-%d" % (self.name, number + 1) if number else self.name

    def take_up(self, number: int, left: Dict[str, Any]) -> Any:
        """Return a result of the job that the attempt before has left; None: there is none that could be of use."""
        job = earlier(left, self.teller(number))
        if job is None:
            say("no job of the attempt before is known at %s: submitting" % left["endpoint"])
            return None
        if job.state == "CANCELLED":
            say("job %s of the attempt before was cancelled: submitting" % job.job_id)
            return None
        if not job.stays:
            job.begin()
            job.cancel(drain=False)
            say("job %s of the attempt before has lost its workers and was cancelled: submitting" % job.job_id)
            return None
        say("taking up job %s of the attempt before, which is %s" % (job.job_id, job.state))
        self.tell(number, job_id=job.job_id, state=job.state)
        self.jobs[number] = job
        job.begin()
        return self.follow(number, result_of(job))

    def follow(self, number: int, result: Any) -> Any:
        """Follow the job of a result from now on, and wait for it in our way; return the result."""
        job = self.jobs.get(number)
        if not isinstance(job, ServiceJob):
            self.jobs[number] = job = Job(self.teller(number), result)
            if result.state in ENDED:
                job.end(result.state)
            else:
                job.begin()
            return result
        job.result = result
        result.wait_until_finish = lambda duration=None: self.wait(job, duration)
        cancel = result.cancel

        def cancelled_here() -> None:
            job.cancelled_here = True
            cancel()

        result.cancel = cancelled_here
        return result

    def wait(self, job: Job, duration: Optional[float]) -> str:
        """Wait until a job ends, for at most `duration` milliseconds, and return its state.

        Raises:
            JobError: it has not ended well.
        """
        if not job.ended.wait(duration / 1000 if duration else None):
            return job.state
        self.park_if_ending()
        job.result._cleanup()  # noqa: SLF001 - ends the workers of LOOPBACK, as Beam's own waiting does
        if job.state in WELL or job.cancelled_here:
            return job.state
        raise JobError(job.complaint())

    def park_if_ending(self) -> None:
        """Leave the rest to the thread that ends this process."""
        if self.ending.is_set():
            threading.Event().wait()

    @property
    def last(self) -> Optional[Job]:
        """The job of the newest pipeline; None: there is none."""
        return self.jobs.get(self.begun - 1)

    def settle(self) -> None:
        """Wait for all jobs, which a program need not do itself.

        Raises:
            JobError: one has not ended well.
        """
        for job in self.jobs.values():
            job.wait()
        self.park_if_ending()
        for job in self.jobs.values():
            if job.state not in WELL and not job.cancelled_here:
                raise JobError(job.complaint())

    def drop(self, records: List[Dict[str, Any]]) -> Iterator[str]:
        """Cancel jobs that an attempt with other settings has left; yield what was done."""
        for record in records:
            if not record.get("endpoint"):
                continue
            try:
                require_service(record["endpoint"], patience=AWAY)
            except Complaint:
                yield "a job of other settings may go on: no job service answers at %s" % record["endpoint"]
                continue
            job = earlier(record, lambda **_: None)
            if job is not None and job.state not in ENDED:
                job.begin()
                yield "job %s has other settings: %s" % (job.job_id, job.cancel(drain=False))

    def give_up(self) -> Iterator[str]:
        """Cancel jobs that go on although the program has failed; yield what was done."""
        for job in self.jobs.values():
            if not job.ended.is_set():
                name = getattr(job, "job_id", self.name)
                try:
                    yield "the program has failed: job %s: %s" % (name, job.cancel(drain=False))
                except Exception as error:  # noqa: BLE001 - a runner's own; the program's error counts
                    yield "the program has failed: job %s may go on: %s" % (name, error)

    def left_behind(self) -> Iterator[ServiceJob]:
        """Yield jobs that are noted but not followed: not yet taken up, or their submission was not answered."""
        for number, record in enumerate(self.note.jobs()):
            if number not in self.jobs and record.get("endpoint"):
                self.ready.wait()  # two threads cannot import Beam at once
                job = earlier(record, self.teller(number))
                if job is not None:
                    job.begin()
                    yield job

    def end(self, why: str) -> Iterator[str]:
        """End what runs, because of a signal; yield what was done.

        Args:
            why: "killed", "timeout" or "stopped": jobs that stay are left alone then.
        """
        self.ending.set()
        if self.submitting.acquire(timeout=2 * ANSWER):
            self.submitting.release()
        jobs: List[Job] = [*self.jobs.values(), *(self.left_behind() if why != "stopped" else ())]
        if not jobs and why != "stopped":
            self.note.tell(state="CANCELLED")
        for job in jobs:
            name = getattr(job, "job_id", self.name)
            if job.ended.is_set():
                continue
            if why == "stopped" and job.stays:
                yield "stopped; job %s goes on, and the next attempt takes it up" % name
            else:
                yield "%s: job %s: %s" % (why, name, job.cancel(self.order["on_kill"] == "drain" and why != "stopped"))
        if why != "stopped":
            self.note.tell(jobs=None)  # the next attempt begins anew


class Submission:
    """A job service through which one job is submitted, under our name, and noted before and after.

    Args:
        work: Whose job it is.
        service: Beam's stub of the service.
        options: The pipeline's.
    """

    def __init__(self, work: Work, service: Any, options: Any) -> None:
        self.work, self.service, self.endpoint = work, service, endpoint_of(options)
        self.loopback, self.number = loopback(options), work.here.number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)

    def Prepare(self, request: Any, *args: Any, **more: Any) -> Any:  # noqa: N802 - the service's own name
        """Prepare the job under its name."""
        request.job_name = self.work.named(self.number)
        answer = self.service.Prepare(request, *args, **more)
        self.record = {
            "endpoint": self.endpoint,
            "name": request.job_name,
            "preparation_id": answer.preparation_id,
            "loopback": self.loopback,
        }
        self.work.note.keep(self.number, self.record)
        return answer

    def Run(self, request: Any, *args: Any, **more: Any) -> Any:  # noqa: N802 - idem
        """Run it, unless this process is being ended."""
        work = self.work
        with work.submitting:
            if not work.ending.is_set():
                answer = self.service.Run(request, *args, **more)
                work.note.keep(self.number, {**self.record, "job_id": answer.job_id})
                work.tell(self.number, job_id=answer.job_id)
                service = service_at(connected(self.endpoint)) if self.endpoint else self.service
                stays = bool(self.endpoint) and not self.loopback
                job = ServiceJob(work.teller(self.number), service, answer.job_id, self.endpoint, stays)
                work.jobs[self.number] = job
                job.begin()
                return answer
        work.park_if_ending()
        return None


def result_of(job: Any) -> Any:
    """Return Beam's result of a job of a service."""
    from apache_beam.runners.portability.portable_runner import PipelineResult

    return PipelineResult(job.service, job.job_id, (), ())


def cloud_name(name: str, number: int) -> str:
    """Return what the job of a pipeline is called at Dataflow: the same for all attempts at a task.

    Dataflow refuses a second job of a name while the first goes on, so that none runs twice.

    Args:
        name: Instance, run, index and attempt.
        number: The pipeline's, from 0.
    """
    task = re.sub("[^a-z0-9]+", "-", name.rpartition("-")[0].lower())
    return "daggy-%s-%d" % (task, number + 1)


def endpoint_of(options: Any) -> str:
    """Return where the job service of a pipeline is; empty: none that outlives this process."""
    from apache_beam.options.pipeline_options import PortableOptions

    endpoint = options.view_as(PortableOptions).job_endpoint or ""
    return "" if endpoint == "embed" else str(endpoint)


def loopback(options: Any) -> bool:
    """Return whether the workers of a pipeline are in the process that submits it."""
    from apache_beam.options.pipeline_options import PortableOptions

    return "LOOPBACK" in (options.view_as(PortableOptions).environment_type or "").upper()


def far_loopback(options: Any, endpoint: str) -> None:
    """Warn of workers here for a service elsewhere."""
    if loopback(options) and endpoint.rpartition(":")[0] not in ("localhost", "127.0.0.1", "[::1]"):
        say("warning: with environment_type LOOPBACK, %s must be able to reach workers on this machine" % endpoint)


def described(options: Any) -> Iterable[str]:
    """Return the names of the options that the runner behind a job service knows."""
    from apache_beam.portability.api import beam_job_api_pb2 as api

    endpoint = endpoint_of(options)
    if not endpoint:
        return ()
    require_service(endpoint)
    service = service_at(connected(endpoint))
    answer = service.DescribePipelineOptions(api.DescribePipelineOptionsRequest(), timeout=ANSWER)
    return [option.name for option in answer.options]
