"""Jobs: what a pipeline is once a runner has it. They are followed, waited for and cancelled."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Set

from daggy_beam.choices import Complaint
from daggy_beam.note import say
from daggy_beam.telling import TRACEBACK, fitting, totals

WELL = ("DONE", "UPDATED", "DRAINED")
ENDED = (*WELL, "FAILED", "CANCELLED")
GONE = "GONE"
"""The state of a job that its service does not know any more."""

ANSWER = 20.0
"""Seconds that a job service may take for an answer."""

START = 15.0
"""Seconds that one may take to be there at all."""

END = 30.0
"""Seconds until a job that is being cancelled is cancelled."""


Tell = Callable[..., None]
"""Told changes of a job: `state`, `metrics`, `metrics_left_out`."""


class JobError(RuntimeError):
    """A job has not ended well. The text is for the task's author."""


class Job:
    """A pipeline that a runner has, known by what `Pipeline.run` returned.

    Args:
        tell: Told its state and metrics.
        result: Beam's PipelineResult.
    """

    stays = False
    """Whether it goes on without this process, and is found again."""

    def __init__(self, tell: Tell, result: Any = None) -> None:
        self.tell, self.result = tell, result
        self.state, self.metrics = "UNKNOWN", {}  # type: str, Dict[str, Any]
        self.ended, self.cancelled_here = threading.Event(), False
        self.follower = threading.Thread(target=self.follow, daemon=True)

    def begin(self) -> None:
        """Follow it from now on."""
        self.follower.start()

    def follow(self) -> None:
        """Tell the state until it is a last one."""
        while True:
            try:
                state = str(self.result.state)
            except Exception:  # noqa: BLE001 - a runner's own; it may be reached again
                state = "unreachable"
            if state in ENDED:
                return self.end(state)
            self.tell(state=state)
            time.sleep(1.0)

    def wait(self) -> None:
        """Wait for its end in the runner's own way."""
        if not self.ended.is_set():
            self.result.wait_until_finish()
            self.ended.wait()

    def end(self, state: str) -> None:
        """Keep and tell the last state, and what was counted."""
        try:
            self.metrics = fitting(self.counted())
        except Exception as error:  # noqa: BLE001 - a runner's own; how the job ended counts
            say("the runner gives no metrics: %s" % (str(error).split("\n")[0] or type(error).__name__))
        self.state = state
        self.tell(state=state, **self.metrics)
        self.ended.set()

    def counted(self) -> Dict[str, Any]:
        """Return the metrics by name."""
        return totals(self.result.metrics().query()) if self.result else {}

    def cancel(self, drain: bool) -> str:
        """Cancel or drain it; return what became of it, for people."""
        client = getattr(getattr(self.result, "_runner", None), "dataflow_client", None)
        if drain and client is not None:
            client.modify_job_state(self.result.job_id(), "JOB_STATE_DRAINING")
            self.ended.wait()
            return "it was drained"
        self.result.cancel()
        said = "its runner does not drain, so it was cancelled" if drain else "it was cancelled"
        self.ended.wait(END)
        return said

    def complaint(self) -> str:
        """Return why it has not ended well."""
        return "a pipeline ended as %s, and the program went on" % self.state


class ServiceJob(Job):
    """A job of a job service, known by its id.

    Args:
        tell: Told its state and metrics.
        service: A JobServiceStub, or the service itself if it is in this process.
        job_id: The service's.
        endpoint: Where the service is; empty: in this process, or started by it.
        stays: Whether it goes on without this process.
    """

    def __init__(self, tell: Tell, service: Any, job_id: str, endpoint: str, stays: bool) -> None:
        super().__init__(tell)
        self.service, self.job_id, self.endpoint, self.stays = service, job_id, endpoint, stays
        self.limits = {"timeout": ANSWER} if endpoint else {}
        self.errors: List[str] = []
        self.heard: Set[Any] = set()
        self.listener = threading.Thread(target=self.listen, daemon=True)

    def wait(self) -> None:
        """Wait for its end."""
        self.ended.wait()

    def ask(self, method: str, request: str, **more: Any) -> Any:
        """Ask the service for something about this job."""
        from apache_beam.portability.api import beam_job_api_pb2 as api

        return getattr(self.service, method)(getattr(api, request)(job_id=self.job_id), **{**self.limits, **more})

    def look(self) -> str:
        """Return its state, as Beam calls it. grpc.RpcError: the service does not say."""
        from apache_beam.portability.api import beam_job_api_pb2 as api

        return str(api.JobState.Enum.Name(self.ask("GetState", "GetJobStateRequest").state))

    def follow(self) -> None:
        """Tell the state until it is a last one, however long the service is away."""
        from grpc import RpcError

        pause, next_metrics = 0.1, time.monotonic() + 5
        while not self.ended.is_set():
            try:
                state = self.look()
                if state in ENDED:
                    return self.end(state)
                changes: Dict[str, Any] = {}
                if time.monotonic() > next_metrics:
                    began = time.monotonic()
                    changes = fitting(self.counted())
                    next_metrics = time.monotonic() + max(5, 20 * (time.monotonic() - began))
                if not self.listener.is_alive():
                    self.listener = threading.Thread(target=self.listen, daemon=True)
                    self.listener.start()
                self.tell(state=state, **changes)
                pause = min(1.5 * pause, 1.0)
            except RpcError as error:
                if self.forgotten(error):
                    self.state = GONE
                    self.tell(state=GONE)
                    return self.ended.set()
                self.tell(state="unreachable")
                pause = min(2 * pause, 5.0)
            time.sleep(pause)
        return None

    def end(self, state: str) -> None:
        """Keep and tell the last state, once all that the service says of the job was heard."""
        if self.listener.is_alive():
            self.listener.join(5)
        else:
            self.listen()
        super().end(state)

    def counted(self) -> Dict[str, Any]:
        """Return the metrics by name, as the service has them at this moment."""
        from apache_beam.runners.portability.portable_runner import PortableMetrics

        return totals(PortableMetrics(self.ask("GetJobMetrics", "GetJobMetricsRequest")).query())

    def listen(self) -> None:
        """Print what the service says of the job, warnings and worse; tracebacks are kept for the end."""
        from apache_beam.portability.api import beam_job_api_pb2 as api
        from grpc import RpcError

        try:
            endless = {"timeout": None} if self.limits else {}
            for answer in self.ask("GetMessageStream", "JobMessagesRequest", **endless):
                message = answer.message_response
                key = (message.message_id, message.time, message.message_text)
                if not answer.HasField("message_response") or key in self.heard:
                    continue
                self.heard.add(key)
                if message.importance == api.JobMessage.JOB_MESSAGE_ERROR:
                    self.errors.append(message.message_text)
                if message.importance >= api.JobMessage.JOB_MESSAGE_WARNING and TRACEBACK not in message.message_text:
                    say(message.message_text)
        except RpcError:
            pass  # `follow` finds out what is the matter

    def cancel(self, drain: bool) -> str:
        """Cancel or drain it, however long the service is away; return what became of it."""
        from grpc import RpcError, StatusCode

        able = True
        while not self.ended.is_set():
            try:
                self.ask(*(("Drain", "DrainJobRequest") if drain and able else ("Cancel", "CancelJobRequest")))
                break
            except RpcError as error:
                if self.forgotten(error):
                    return "its service has forgotten it"
                if drain and able and error.code() == StatusCode.UNIMPLEMENTED:
                    able = False
                else:
                    time.sleep(1.0)
        if drain and able:
            self.ended.wait()  # what is in it comes to its end first; who has no more time for that kills us
            return "it was drained"
        self.ended.wait(END)
        said = "its service cannot drain, so it was cancelled" if drain else "it was cancelled"
        return "%s; what its workers have begun may still go on for a moment" % said

    def forgotten(self, error: Any) -> bool:
        """Return whether the service does not know this job, going by what it answered.

        A job that Beam's own service does not know makes it raise, which a connection that breaks looks like, too.
        """
        from apache_beam.portability.api import beam_job_api_pb2 as api
        from grpc import RpcError, StatusCode

        if error.code() != StatusCode.UNKNOWN:
            return bool(error.code() == StatusCode.NOT_FOUND)
        try:
            jobs = self.service.GetJobs(api.GetJobsRequest(), **self.limits).job_info
        except RpcError:
            return False
        return all(job.job_id != self.job_id for job in jobs)

    def complaint(self) -> str:
        """Return why it has not ended well."""
        if self.state == GONE:
            return (
                "the job service at %s does not know job %s any more: it was started again, or has forgotten it; "
                "the next attempt submits the pipeline anew" % (self.endpoint, self.job_id)
            )
        if self.state == "CANCELLED":
            return "job %s was cancelled, not by Daggy" % self.job_id
        for error in reversed(self.errors):
            if TRACEBACK in error:
                return error
        return self.errors[-1] if self.errors else "job %s failed; its service says nothing else" % self.job_id


def connected(endpoint: str) -> Any:
    """Return a channel to a job service."""
    import grpc

    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.insecure_channel(endpoint, options=[*unbounded, ("grpc.max_reconnect_backoff_ms", 2000)])


def service_at(channel: Any) -> Any:
    """Return the stub of the service at the other end of a channel."""
    from apache_beam.portability.api import beam_job_api_pb2_grpc

    return beam_job_api_pb2_grpc.JobServiceStub(channel)


def require_service(endpoint: str, patience: float = START) -> None:
    """Wait until a job service can be connected to.

    Raises:
        Complaint: it cannot.
    """
    import grpc

    channel = connected(endpoint)
    try:
        grpc.channel_ready_future(channel).result(timeout=patience)
    except grpc.FutureTimeoutError:
        raise Complaint(
            "no job service answers at %s; is it running? `options.job_endpoint` says where it is" % endpoint
        ) from None
    finally:
        channel.close()


def earlier(before: Dict[str, Any], tell: Tell) -> Any:
    """Return the job that the attempt before has left, if its service still has it.

    While the service does not answer it is waited for: the job may well go on behind it.

    Returns:
        A ServiceJob whose state is known, or None.
    """
    import grpc

    endpoint, pause = before["endpoint"], 0.5
    service = service_at(connected(endpoint))
    while True:
        job = None
        try:
            job_id = before.get("job_id") or _by_name(service, before)
            if not job_id:
                return None
            job = ServiceJob(tell, service, job_id, endpoint, not before.get("loopback"))
            job.state = job.look()
        except grpc.RpcError as error:
            if job.forgotten(error) if job else error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            tell(state="unreachable")
            time.sleep(pause)
            pause = min(2 * pause, 15.0)
        else:
            return None if job.state in ("STOPPED", "UNSPECIFIED", "UNKNOWN") else job


def _by_name(service: Any, before: Dict[str, Any]) -> str:
    """Return the id of a job whose submission may have arrived; empty: it did not."""
    from apache_beam.portability.api import beam_job_api_pb2 as api

    wanted = before.get("preparation_id"), before.get("name")
    if not any(wanted):
        return ""
    for again in (False, True):  # the request may be under way
        found = service.GetJobs(api.GetJobsRequest(), timeout=ANSWER).job_info
        named = [job for job in found if job.job_id == wanted[0] or job.job_name == wanted[1]]
        begun = [job.job_id for job in named if job.state != api.JobState.STOPPED]
        if begun or not named:
            return begun[0] if begun else ""
        if not again:
            time.sleep(1.0)
    return ""
