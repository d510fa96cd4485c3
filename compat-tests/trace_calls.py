#!/usr/bin/env python3
"""Traces and assessments through the real MLflow client: what is traced is found, and comes back equal.

    trace_calls.py [TRACKING_URI [SECTION…]]

Needs mlflow 3.4 or later, whose spans come by OTLP; with earlier ones it is skipped, and said.
"""

import asyncio
import logging
import sys
import time
import warnings

from checks import Checks, tracking_uri, unique

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that is prepared above)
from mlflow.tracking import MlflowClient  # noqa: E402

VALUES = [True, False, 1.0, 0.5, "text é😀", "", ["a", 1.0, None], {"x": {"y": 1.0}}]

checks = Checks()
client = MlflowClient(TRACKING_URI)
experiment_id = None


def traced(call, *arguments):
    """The trace of a call, read back when all of it has arrived; the call may fail."""
    try:
        result = call(*arguments)
        if asyncio.iscoroutine(result):
            asyncio.run(result)
        elif hasattr(result, "__next__"):
            list(result)
    except ValueError:
        pass
    return arrived(mlflow.get_last_active_trace_id())


def arrived(trace_id):
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    try:
        mlflow.flush_trace_async_logging()
    except Exception:
        pass  # Some 3.x clients cannot flush and say so; waiting does as well.
    for _ in range(60):
        trace = mlflow.get_trace(trace_id)
        if trace and trace.data.spans:
            return trace
        time.sleep(0.5)
    return checks.fail(f"trace {trace_id} never arrived")


def found(filter_string, **options):
    traces = client.search_traces(experiment_ids=[experiment_id], filter_string=filter_string, **options)
    return sorted(trace.info.trace_id for trace in traces)


@mlflow.trace(span_type="CHAIN", attributes={"team": "blue"})
def answer(question, times=3):
    with mlflow.start_span("call", span_type="LLM") as span:
        span.set_inputs({"question": question})
        span.set_outputs({"answer": question * 2})
        span.set_attribute("model", "small-1")
        span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    return {"answer": question, "list": [1, 2.5, None, True]}


@mlflow.trace
def fail(argument):
    raise ValueError(f"no {argument}")


@mlflow.trace
def stream(count):
    for number in range(count):
        yield number


@mlflow.trace
async def later(number):
    await asyncio.sleep(0.01)
    return number + 1


def decorated_functions():
    trace = traced(answer, "what? é😀")
    outer, call = trace.data.spans
    checks.equal("names", [span.name for span in trace.data.spans], ["answer", "call"])
    checks.equal("parent", call.parent_id, outer.span_id)
    checks.equal("inputs", outer.inputs, {"question": "what? é😀", "times": 3})
    checks.equal("outputs", outer.outputs, {"answer": "what? é😀", "list": [1, 2.5, None, True]})
    checks.equal("types", [span.span_type for span in trace.data.spans], ["CHAIN", "LLM"])
    checks.equal("attributes", (outer.get_attribute("team"), call.get_attribute("model")), ("blue", "small-1"))
    checks.equal("tokens", trace.info.token_usage, {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    checks.equal("state", trace.info.state.value, "OK")
    checks.true("preview", "what? é😀" in trace.info.request_preview, trace.info.request_preview)

    failed = traced(fail, "answer")
    checks.equal("state of a failure", failed.info.state.value, "ERROR")
    checks.equal("status of its span", failed.data.spans[0].status.status_code.value, "ERROR")
    checks.equal("what happened", failed.data.spans[0].events[0].attributes["exception.message"], "no answer")
    checks.equal("streamed outputs", traced(stream, 4).data.spans[0].outputs, [0, 1, 2, 3])
    checks.equal("asynchronous outputs", traced(later, 1).data.spans[0].outputs, 2)

    ids = [trace.info.trace_id]
    checks.equal("found by state", found("status = 'ERROR'"), [failed.info.trace_id])
    checks.equal("found by name", found("name = 'answer'"), ids)
    checks.equal("found by type of a span", found("span.type = 'LLM'"), ids)
    checks.equal("found by an attribute", found("span.attributes.model LIKE '%small%'"), ids)
    checks.equal("found by text", found("trace.text LIKE '%what?%'"), ids)
    frame = mlflow.search_traces(experiment_ids=[experiment_id])
    checks.equal("traces in a data frame", len(frame), 4)
    checks.true("spans in a data frame", all(len(spans) > 0 for spans in frame["spans"]))
    pages, token = [], None
    while True:
        page = client.search_traces(experiment_ids=[experiment_id], max_results=3, page_token=token, order_by=["timestamp ASC"])
        pages += [each.info.trace_id for each in page]
        token = page.token
        if not token:
            break
    checks.equal("traces by pages", len(set(pages)), 4)


def spans_by_hand():
    root = client.start_trace("by hand", inputs={"x": 1}, tags={"t": "1"})
    span = client.start_span("child", trace_id=root.trace_id, parent_id=root.span_id, inputs=2)
    client.end_span(root.trace_id, span.span_id, outputs=[3])
    client.end_trace(root.trace_id, outputs=4)
    trace = arrived(root.trace_id)
    checks.equal("spans", [(span.name, span.inputs, span.outputs) for span in trace.data.spans], [("by hand", {"x": 1}, 4), ("child", 2, [3])])
    client.set_trace_tag(root.trace_id, "team", "blue é")
    checks.equal("tags", (mlflow.get_trace(root.trace_id).info.tags["t"], mlflow.get_trace(root.trace_id).info.tags["team"]), ("1", "blue é"))
    client.delete_trace_tag(root.trace_id, "team")
    checks.true("a tag that was deleted", "team" not in mlflow.get_trace(root.trace_id).info.tags)
    checks.refused("delete it again", "RESOURCE_DOES_NOT_EXIST", client.delete_trace_tag, root.trace_id, "team")


def traces_of_runs():
    before = traced(answer, "before").info.trace_id
    with mlflow.start_run() as run:
        inside = traced(answer, "inside").info.trace_id
    checks.equal("made in the run", found(f"run_id = '{run.info.run_id}'"), [inside])
    client.link_traces_to_run(trace_ids=[before], run_id=run.info.run_id)
    checks.equal("linked to it", found(f"run_id = '{run.info.run_id}'"), sorted([before, inside]))


def assessments():
    trace_id = traced(answer, "assessed").info.trace_id
    for number, value in enumerate(VALUES):
        feedback = mlflow.log_feedback(trace_id=trace_id, name=f"f{number}", value=value, rationale="why", metadata={"k": "v"})
        read = mlflow.get_assessment(trace_id, feedback.assessment_id)
        checks.equal(f"feedback {value!r}", (read.value, read.rationale, read.metadata["k"]), (value, "why", "v"))
        expectation = mlflow.log_expectation(trace_id=trace_id, name=f"e{number}", value=value)
        checks.equal(f"expectation {value!r}", mlflow.get_assessment(trace_id, expectation.assessment_id).value, value)
    failed = mlflow.log_feedback(trace_id=trace_id, name="failed", error=ValueError("no judge"))
    checks.equal("error", mlflow.get_assessment(trace_id, failed.assessment_id).error.error_message, "no judge")

    first = mlflow.log_feedback(trace_id=trace_id, name="good", value=True)
    second = mlflow.override_feedback(trace_id=trace_id, assessment_id=first.assessment_id, value=False)
    checks.equal("overridden", mlflow.get_assessment(trace_id, first.assessment_id).valid, False)
    mlflow.delete_assessment(trace_id=trace_id, assessment_id=second.assessment_id)
    checks.equal("valid again", mlflow.get_assessment(trace_id, first.assessment_id).valid, True)
    checks.refused("a deleted one", "RESOURCE_DOES_NOT_EXIST", mlflow.get_assessment, trace_id, second.assessment_id)
    checks.equal("found by feedback", found("feedback.good = 'true'"), [trace_id])
    checks.equal("found by number", found("feedback.f3 = '0.5'"), [trace_id])
    checks.equal("all of the trace", len(mlflow.get_trace(trace_id).info.assessments), 2 * len(VALUES) + 2)


def deletion():
    ids = [traced(answer, str(number)).info.trace_id for number in range(3)]
    checks.equal("by id", client.delete_traces(experiment_id, trace_ids=ids[:1]), 1)
    checks.true("gone", ids[0] not in found(""))
    checks.equal("the oldest", client.delete_traces(experiment_id, max_timestamp_millis=int(time.time() * 1000), max_traces=1), 1)
    checks.true("all", client.delete_traces(experiment_id, max_timestamp_millis=int(time.time() * 1000) + 60_000) >= 1)
    checks.equal("nothing is left", found(""), [])


SECTIONS = [decorated_functions, spans_by_hand, traces_of_runs, assessments, deletion]


def main():
    global experiment_id
    warnings.filterwarnings("ignore")
    mlflow.set_tracking_uri(TRACKING_URI)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}")
    if tuple(map(int, mlflow.__version__.split(".")[:2])) < (3, 4):
        checks.skip("trace_calls.py", f"spans of mlflow {mlflow.__version__} do not come by OTLP")
    else:
        experiment_id = mlflow.set_experiment(unique("traces")).experiment_id
        checks.run([part for part in SECTIONS if part.__name__ in sys.argv[2:] or not sys.argv[2:]], lambda: None)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
