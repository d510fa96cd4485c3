#!/usr/bin/env python3
"""Traces and assessments through the real MLflow client: what is traced is found, and comes back equal.

    trace_calls.py [TRACKING_URI [SECTION…]]

Of clients before mlflow 3.4, whose spans come as files instead of by OTLP, only what they have in common is run.
"""

import asyncio
import contextvars
import json
import logging
import os
import sys
import threading
import time
import uuid
import warnings
from datetime import datetime, timezone

from checks import Checks, tracking_uri, unique

TRACKING_URI = tracking_uri()
# Newer clients collect spans for this long before they send them; by default for seconds.
os.environ.setdefault("MLFLOW_ASYNC_TRACE_LOGGING_MAX_INTERVAL_MILLIS", "20")

import mlflow  # noqa: E402 (reads the environment that is prepared above)
import requests  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

try:
    import pandas as pd
    from mlflow.entities import AssessmentSource, Document, Feedback, SpanEvent, SpanStatus
    from mlflow.tracing import set_span_chat_tools
except ImportError:
    pass  # Of a client that is too old for any of this.

VERSION = tuple(map(int, mlflow.__version__.split(".")[:2]))
VALUES = [True, False, 1.0, 0.5, -1.0, 1e300, 5e-324, "text é😀", "", '"quoted"', "true", ["a", 1.0, None], [], {}, {"x": {"y": 1.0}}, [[1.0], {"é": None}]]

checks = Checks()
client = MlflowClient(TRACKING_URI)
sections = []
experiment_id = None
mlflow_server = None  # The version of MLflow's own server; None of others.


def section(function):
    sections.append(function)
    return function


def traced(call, *arguments):
    """The trace of a call, read back when all of it has arrived; the call may fail."""
    try:
        result = call(*arguments)
        if asyncio.iscoroutine(result):
            asyncio.run(result)
        elif hasattr(result, "__next__"):
            list(result)
        elif hasattr(result, "__anext__"):
            asyncio.run(drain(result))
    except ValueError:
        pass
    return arrived(mlflow.get_last_active_trace_id())


async def drain(stream):
    return [each async for each in stream]


def arrived(trace_id):
    """Clients send in the background: the trace when it and as many spans as it says are there."""
    for _ in range(300):
        # A client that is asked for a trace whose spans are on their way waits in steps that grow.
        info = requests.get(f"{TRACKING_URI}/api/3.0/mlflow/traces/{trace_id}", timeout=60).json().get("trace", {}).get("trace_info", {})
        if info.get("state") != "IN_PROGRESS" and "mlflow.trace.sizeStats" in info.get("trace_metadata", {}):
            try:
                trace = client.get_trace(trace_id, display=False)
            except mlflow.exceptions.MlflowException:
                trace = None
            if trace and trace.data.spans:
                return trace
        time.sleep(0.05)
    raise AssertionError(f"trace {trace_id} never arrived")


def found(filter_string, ids=None, **options):
    traces = client.search_traces(**of(ids or [experiment_id]), filter_string=filter_string, **{"include_spans": False, **options})
    return sorted(trace.info.trace_id for trace in traces)


def of(ids):
    """The argument that names experiments; newer clients warn of the older one."""
    return {"locations": ids} if VERSION >= (3, 5) else {"experiment_ids": ids}


def compare(what, trace, spans):
    """Everything that a trace's spans had when they were ended, with what is read back."""
    read = {span.span_id: span for span in trace.data.spans}
    checks.equal(f"{what}: spans", sorted(span.name for span in trace.data.spans), sorted(span.name for span in spans))
    for live in spans:
        span = read.get(live.span_id)
        if not checks.true(f"{what}: {live.name} is there", span):
            continue
        for field in ("name", "trace_id", "parent_id", "span_type", "start_time_ns", "end_time_ns", "inputs", "outputs"):
            checks.equal(f"{what}: {field} of {live.name}", getattr(span, field), sent(getattr(live, field)))
        for key, value in live.attributes.items():
            checks.equal(f"{what}: attribute {key} of {live.name}", span.attributes.get(key), sent(value))
        checks.equal(f"{what}: status of {live.name}", (span.status.status_code, span.status.description), (live.status.status_code, live.status.description))
        checks.equal(f"{what}: events of {live.name}", [event_of(event) for event in span.events], [event_of(event) for event in live.events])


def event_of(event):
    return (event.name, event.timestamp, dict(event.attributes))


def sent(value):
    """A value as spans have it: dataclasses as objects, tuples as lists; what is empty is lost by MLflow's clients and servers before 3.7."""
    loses_empty = VERSION < (3, 7) or is_old_server()
    if hasattr(value, "__dataclass_fields__"):
        value = vars(value)
    if isinstance(value, (dict, list, tuple)) and not value and loses_empty:
        return None
    if isinstance(value, dict):
        return {key: sent(each) for key, each in value.items()}
    return [sent(each) for each in value] if isinstance(value, (list, tuple)) else value


def start(name, kind, parent=None, inputs=None, attributes=None, **options):
    return mlflow.start_span_no_context(name, span_type=kind, parent_span=parent, inputs=inputs, attributes=attributes, **options)


def is_old_server():
    return mlflow_server is not None and mlflow_server < (3, 7)


def tokens_are(what, trace, expected):
    if is_old_server() and VERSION >= (3, 7):
        checks.skip(what, "MLflow's own server counts those of spans twice that newer clients send again")
    else:
        checks.equal(what, trace.info.token_usage, expected)


def tree(trace):
    """Names with the names of their parents."""
    names = {span.span_id: span.name for span in trace.data.spans}
    return sorted((span.name, names.get(span.parent_id)) for span in trace.data.spans)


# ------------------------------------------------------------------------------------------- functions


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


def talk(words):
    for number, word in enumerate(words):
        with mlflow.start_span(f"token {number}") as span:
            span.set_outputs(word)
        yield {"delta": word, "index": number}


@mlflow.trace
def broken_stream():
    yield "first"
    raise ValueError("the stream broke")


async def later_stream(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@mlflow.trace
async def later(number):
    await asyncio.sleep(0.01)
    return number + 1


@mlflow.trace
async def pair(name):
    with mlflow.start_span(f"inner of {name}"):
        await asyncio.sleep(0.01)
    return await later(name)


@mlflow.trace
async def gather(count):
    return await asyncio.gather(*(pair(number) for number in range(count)))


@section
def decorated_functions():
    trace = traced(answer, "what? é😀")
    outer, call = trace.data.spans
    checks.equal("names", [span.name for span in trace.data.spans], ["answer", "call"])
    checks.equal("parent", call.parent_id, outer.span_id)
    checks.equal("inputs", outer.inputs, {"question": "what? é😀", "times": 3})
    checks.equal("outputs", outer.outputs, {"answer": "what? é😀", "list": [1, 2.5, None, True]})
    checks.equal("types", [span.span_type for span in trace.data.spans], ["CHAIN", "LLM"])
    checks.equal("attributes", (outer.get_attribute("team"), call.get_attribute("model")), ("blue", "small-1"))
    tokens_are("tokens", trace, {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    checks.equal("state", trace.info.state.value, "OK")
    checks.true("preview", "what? é😀" in trace.info.request_preview, trace.info.request_preview)
    checks.true("duration", 0 <= trace.info.execution_duration < 60_000, trace.info.execution_duration)

    failed = traced(fail, "answer")
    checks.equal("state of a failure", failed.info.state.value, "ERROR")
    checks.equal("status of its span", failed.data.spans[0].status.status_code.value, "ERROR")
    happened = failed.data.spans[0].events[0]
    checks.equal("what happened", (happened.name, happened.attributes["exception.message"], happened.attributes["exception.type"]), ("exception", "no answer", "ValueError"))
    checks.true("where", "in fail" in happened.attributes["exception.stacktrace"], happened.attributes)
    ids = [trace.info.trace_id]
    checks.equal("found by state", found("status = 'ERROR'"), [failed.info.trace_id])
    checks.equal("found by name", found("name = 'answer'"), ids)
    checks.equal("found by type of a span", found("span.type = 'LLM'"), ids)
    checks.equal("found by an attribute", found("span.attributes.model LIKE '%small%'"), ids)
    checks.equal("found by text", found("trace.text LIKE '%what?%'"), ids)


@section
def streams():
    trace = traced(stream, 4)
    checks.equal("outputs", trace.data.spans[0].outputs, [0, 1, 2, 3])
    checks.equal("chunks", [event_of(event)[::2] for event in trace.data.spans[0].events],
                 [(f"mlflow.chunk.item.{number}", {"mlflow.chunk.value": str(number)}) for number in range(4)])
    joined = mlflow.trace(talk, span_type="LLM", output_reducer=lambda chunks: "".join(chunk["delta"] for chunk in chunks))
    trace = traced(joined, ["Hel", "lo é", "😀"])
    checks.equal("reduced outputs", trace.data.spans[0].outputs, "Hello é😀")
    checks.equal("spans within", tree(trace), [("talk", None), ("token 0", "talk"), ("token 1", "talk"), ("token 2", "talk")])
    checks.equal("chunks of objects", [json.loads(event.attributes["mlflow.chunk.value"])["index"] for event in trace.data.spans[0].events], [0, 1, 2])
    broken = traced(broken_stream)
    checks.equal("state of a broken one", broken.info.state.value, "ERROR")
    checks.equal("its events", [event.name for event in broken.data.spans[0].events], ["mlflow.chunk.item.0", "exception"])
    checks.equal("why", broken.data.spans[0].events[1].attributes["exception.message"], "the stream broke")
    checks.equal("asynchronous", traced(mlflow.trace(later_stream, output_reducer=sum), 4).data.spans[0].outputs, 6)


@section
def at_once():
    checks.equal("asynchronous outputs", traced(later, 1).data.spans[0].outputs, 2)
    trace = traced(gather, 5)
    checks.equal("outputs of all", trace.data.spans[0].outputs, [1, 2, 3, 4, 5])
    children = {span.span_id: span for span in trace.data.spans if span.name == "pair"}
    checks.equal("how many", len(trace.data.spans), 1 + 5 * 3)
    checks.true("all under the first", all(span.parent_id == trace.data.spans[0].span_id for span in children.values()))
    for span in trace.data.spans:
        if span.name == "later":
            checks.equal("under its own caller", children[span.parent_id].inputs, {"name": span.inputs["number"]})

    @mlflow.trace
    def work(number):
        return number * 2

    @mlflow.trace
    def with_threads(count):
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work, number)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with_threads(4)
    trace = arrived(mlflow.get_last_active_trace_id())
    checks.equal("threads", tree(trace), [("with_threads", None)] + [("work", "with_threads")] * 4)
    checks.equal("what they gave", sorted(span.outputs for span in trace.data.spans if span.name == "work"), [0, 2, 4, 6])

    ids = []
    def own(number):
        answer(f"thread {number}")
        ids.append((number, mlflow.get_last_active_trace_id(thread_local=True)))

    threads = [threading.Thread(target=own, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, trace_id in ids:
        checks.equal("a trace of its own", arrived(trace_id).data.spans[0].inputs, {"question": f"thread {number}", "times": 3})


# ------------------------------------------------------------------------------------------- spans by hand


@section
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


ANYTHING = {
    "": None, "é 漢字 😀": "ß", "dotted.key": 1, "float": 1.0, "tiny": 5e-324, "large": 1.7976931348623157e308, "minus": -0.5, "max": 2**63 - 1, "min": -(2**63),
    "yes": True, "no": False, "none": None, "text": 'a "quoted" \\ line\nand\ttab', "empty": "", "list": [1, "a", None, [2.5, []], {}],
    "deep": {"a": {"b": {"c": [{"d": "e"}]}}}, "number": "5", "true": "true",
}


@section
def every_kind_of_value():
    root = start("é 漢字 😀", "CHAIN", inputs=ANYTHING, attributes={"a.b": 1, "anything": ANYTHING, "ünï 😀": "ç"}, tags={"é": "😀"})
    spans = [root]
    for number, value in enumerate([*ANYTHING.values(), ANYTHING, "x" * 5000]):
        span = start(f"value {number}", "TOOL", root, inputs=value)
        span.set_attribute("value", value)
        span.add_event(SpanEvent("event", attributes={"text": "é😀", "number": 1, "float": 0.5, "flag": True, "list": ["a", "b"]}))
        span.add_event(SpanEvent("another"))
        span.end(outputs=value)
        spans.append(span)
    try:
        fail("event")
    except ValueError as error:
        root.record_exception(error)
    root.set_status(SpanStatus("OK"))
    root.end(outputs=ANYTHING)
    trace = arrived(root.trace_id)
    compare("values", trace, spans)
    checks.equal("inputs, by hand", trace.data.spans[0].inputs, sent(ANYTHING))
    checks.equal("tag", trace.info.tags["é"], "😀")
    checks.equal("name", trace.info.tags["mlflow.traceName"], "é 漢字 😀")

    if mlflow_server is None or is_old_server():
        for text in ('{"not": "parsed"}', "[1, 2]", '"quoted"'):
            span = start("looks like JSON", "LLM", inputs=text)
            span.end(outputs=text)
            compare("text", arrived(span.trace_id), [span])
    else:
        checks.skip("texts that look like JSON", "MLflow's own server parses them")

    large = start("large", "LLM", inputs={"text": "é" * 700_000, "list": list(range(50_000))})
    large.end(outputs="😀" * 400_000)
    trace = arrived(large.trace_id)
    checks.equal("large inputs", trace.data.spans[0].inputs, {"text": "é" * 700_000, "list": list(range(50_000))})
    checks.equal("large outputs", trace.data.spans[0].outputs, "😀" * 400_000)
    checks.true("their previews", 0 < len(trace.info.request_preview) <= 1000 and 0 < len(trace.info.response_preview) <= 1000)

    many = start("many", "CHAIN")
    spans = [many]
    for number in range(100):
        spans.append(start(f"span {number}", "TASK", spans[number // 2], inputs=number))
    for span in reversed(spans):
        span.end()
    compare("many", arrived(many.trace_id), spans)


# ------------------------------------------------------------------------------------------- shapes of the integrations


@section
def langchain_shape():
    """What MLflow's tracer for LangChain makes of a chain with a retriever beside it, a chat model with tools, a tool that fails and another answer."""
    settings = {"thread_id": "thread-1", "ls_provider": "openai", "ls_model_type": "chat", "ls_temperature": 0.1}
    human = {"content": "What is MLflow? é😀", "additional_kwargs": {}, "response_metadata": {}, "type": "human", "name": None, "id": None, "example": False}
    tools = [{"type": "function", "function": {"name": "search", "description": "Looks it up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}}}]
    spans = []

    def begin(name, kind, parent=None, inputs=None, **attributes):
        spans.append(start(name, kind, parent, inputs, attributes))
        return spans[-1]

    def chat(parent, number, usage):
        model = begin("ChatOpenAI", "CHAT_MODEL", parent, [[human]], **{
            "invocation_params": {"model": "gpt-4o-mini", "temperature": 0.1, "_type": "openai-chat", "stop": None, "tools": tools, "stream_options": {"include_usage": True}},
            "options": {"stop": None}, "batch_size": 1, "metadata": settings, "mlflow.message.format": "langchain"})
        set_span_chat_tools(model, tools)
        for token in ("ML", "flow", " é😀"):
            model.add_event(SpanEvent("new_token", attributes={"token": token, "chunk": json.dumps({"text": token, "type": "ChatGenerationChunk"})}))
        model.set_attribute("mlflow.chat.tokenUsage", usage)
        reply = {"content": f"answer {number}", "type": "ai", "tool_calls": [{"name": "search", "args": {"q": "mlflow"}, "id": "call_1", "type": "tool_call"}],
                 "usage_metadata": {**usage, "input_token_details": {"cache_read": 0}}}
        model.end(outputs={"generations": [[{"text": f"answer {number}", "generation_info": {"finish_reason": "stop", "logprobs": None}, "type": "ChatGeneration", "message": reply}]],
                           "llm_output": None, "run": None, "type": "LLMResult"})
        return model

    root = begin("RunnableSequence", "CHAIN", None, "What is MLflow? é😀", metadata=settings)
    both = begin("RunnableParallel<context,question>", "CHAIN", root, "What is MLflow?", metadata=settings)
    documents = [Document(page_content=f"page {number} é", metadata={"source": f"s3://b/{number}", "score": number / 3}, id=f"doc-{number}") for number in range(3)]

    def retrieve():
        retriever = begin("VectorStoreRetriever", "RETRIEVER", both, "What is MLflow?", metadata={"ls_retriever_name": "vectorstore"})
        retriever.end(outputs=documents)

    def pass_on():
        begin("RunnablePassthrough", "CHAIN", both, "What is MLflow?").end(outputs="What is MLflow?")

    threads = [threading.Thread(target=part) for part in (retrieve, pass_on)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    both.end(outputs={"context": documents, "question": "What is MLflow?"})
    begin("ChatPromptTemplate", "CHAIN", root, {"context": documents, "question": "What is MLflow?"}).end(outputs={"messages": [human]})
    chat(root, 1, {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18})
    tool = begin("search", "TOOL", root, {"q": "mlflow"}, color="green")
    try:
        raise ValueError("no answer from é")
    except ValueError as error:
        tool.add_event(SpanEvent.from_exception(error))
    tool.end(status=SpanStatus("ERROR", "no answer from é"))
    chat(root, 2, {"input_tokens": 20, "output_tokens": 1, "total_tokens": 21})
    begin("StrOutputParser", "PARSER", root, {"content": "answer 2"}).end(outputs="answer 2")
    root.end(outputs="answer 2")

    trace = arrived(root.trace_id)
    compare("chain", trace, spans)
    checks.equal("tree", tree(trace), sorted([
        ("RunnableSequence", None), ("RunnableParallel<context,question>", "RunnableSequence"), ("VectorStoreRetriever", "RunnableParallel<context,question>"),
        ("RunnablePassthrough", "RunnableParallel<context,question>"), ("ChatPromptTemplate", "RunnableSequence"), ("ChatOpenAI", "RunnableSequence"),
        ("ChatOpenAI", "RunnableSequence"), ("search", "RunnableSequence"), ("StrOutputParser", "RunnableSequence")]))
    checks.equal("documents", trace.search_spans(span_type="RETRIEVER")[0].outputs,
                 [{"page_content": f"page {number} é", "metadata": {"source": f"s3://b/{number}", "score": number / 3}, "id": f"doc-{number}"} for number in range(3)])
    checks.equal("tools", [span.get_attribute("mlflow.chat.tools")[0]["function"]["name"] for span in trace.search_spans(span_type="CHAT_MODEL")], ["search"] * 2)
    tokens_are("tokens of both", trace, {"input_tokens": 31, "output_tokens": 8, "total_tokens": 39})
    checks.equal("an error in the middle does not fail the whole", trace.info.state.value, "OK")
    checks.equal("the failed tool", (trace.search_spans(name="search")[0].status.description, trace.search_spans(name="search")[0].outputs), ("no answer from é", None))
    ids = [root.trace_id]
    checks.equal("found by the retriever", found("span.type = 'RETRIEVER'"), ids)
    checks.equal("found by the failed span", found("span.status = 'ERROR' AND span.type = 'TOOL'"), ids)
    checks.equal("found by what the model said", found("trace.text LIKE '%answer 2%'"), ids)
    checks.equal("found by the model's name", found("span.attributes.invocation_params LIKE '%gpt-4o-mini%'"), ids)

    failed = begin("RunnableSequence", "CHAIN", None, "again")
    inner = begin("ChatOpenAI", "CHAT_MODEL", failed, [[human]])
    for span in (inner, failed):
        try:
            raise TimeoutError("no model")
        except TimeoutError as error:
            span.add_event(SpanEvent.from_exception(error))
        span.end(status=SpanStatus("ERROR", "no model"))
    trace = arrived(failed.trace_id)
    compare("failed chain", trace, [failed, inner])
    checks.equal("state of the failed chain", trace.info.state.value, "ERROR")


@section
def openai_shape():
    tools = [{"type": "function", "function": {"name": "weather", "description": "Of a place", "parameters": {"type": "object", "properties": {"place": {"type": "string", "enum": ["Bonn", "Köln"]}}}}}]
    request = {"model": "gpt-4o", "temperature": 0, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Köln?"}, {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}], "tools": tools}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Köln"}'}}
    response = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "gpt-4o-2024", "service_tier": None, "system_fingerprint": "fp",
                "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": None, "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}}
    span = start("Completions", "CHAT_MODEL", inputs=request, attributes={"mlflow.message.format": "openai", "model": "gpt-4o", "temperature": 0})
    set_span_chat_tools(span, tools)
    span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 9, "output_tokens": 12, "total_tokens": 21})
    span.end(outputs=response)
    trace = arrived(span.trace_id)
    compare("chat", trace, [span])
    checks.equal("request", json.loads(trace.data.request), request)
    checks.equal("response", json.loads(trace.data.response), response)
    tokens_are("tokens", trace, {"input_tokens": 9, "output_tokens": 12, "total_tokens": 21})
    checks.equal("tools", trace.data.spans[0].get_attribute("mlflow.chat.tools"), tools)
    checks.true("preview names the question", "Weather in Köln?" in trace.info.request_preview, trace.info.request_preview)


@section
def attachments():
    try:
        from mlflow.tracing.attachments import Attachment
    except ImportError:
        return checks.skip("attachments", "the client has none")
    if is_old_server():
        return checks.skip("attachments", "the server has none")
    data = bytes(range(256)) * 1000
    with mlflow.start_span("with a picture") as span:
        span.set_inputs({"picture": Attachment(content_type="image/png", content_bytes=data), "question": "what is it?"})
        span.set_outputs("a square")
    trace = arrived(span.trace_id)
    reference = trace.data.spans[0].inputs["picture"]
    read = Attachment.parse_ref(reference)
    checks.equal("kind", (read["content_type"], read["trace_id"], read["size"]), ("image/png", span.trace_id, len(data)))
    for _ in range(100):
        answer = requests.get(f"{TRACKING_URI}/ajax-api/3.0/mlflow/get-trace-artifact", params={"request_id": span.trace_id, "path": read["attachment_id"]}, timeout=60)
        if answer.status_code == 200:
            break
        time.sleep(0.1)
    checks.equal("bytes", (answer.status_code, answer.content == data), (200, True))


# ------------------------------------------------------------------------------------------- what is known of a trace


@section
def the_current_trace():
    with mlflow.start_span("current", attributes={"a": 1}) as span:
        span.set_inputs("question")
        checks.equal("active", mlflow.get_active_trace_id(), span.trace_id)
        mlflow.update_current_trace(
            tags={"fruit": "äpple", "n": "1"}, metadata={"commit": "abc é", "mlflow.modelId": "m-" + "1" * 32, "mlflow.trace.session": "session-1", "mlflow.trace.user": "user-1"},
            client_request_id="request-1", request_preview="the question é", response_preview="the answer 😀", state="ERROR")
        mlflow.update_current_trace(tags={"n": "2"})
        span.set_outputs("answer")
    trace = arrived(span.trace_id)
    checks.equal("tags", (trace.info.tags["fruit"], trace.info.tags["n"]), ("äpple", "2"))
    checks.equal("metadata", [trace.info.trace_metadata[key] for key in ("commit", "mlflow.trace.session", "mlflow.trace.user")], ["abc é", "session-1", "user-1"])
    checks.equal("previews", (trace.info.request_preview, trace.info.response_preview), ("the question é", "the answer 😀"))
    checks.equal("client's id", trace.info.client_request_id, "request-1")
    checks.equal("state", trace.info.state.value, "ERROR")
    checks.equal("experiment", trace.info.experiment_id, experiment_id)
    ids = [span.trace_id]
    for filter_string in ("client_request_id = 'request-1'", "metadata.commit = 'abc é'", "metadata.`mlflow.trace.session` = 'session-1'",
                          "metadata.`mlflow.trace.user` = 'user-1'", "tags.fruit LIKE '%pple'", f"request_id = '{span.trace_id}'"):
        checks.equal(filter_string, found(filter_string), ids)
    chosen = mlflow.search_traces(**of([experiment_id]), model_id="m-" + "1" * 32, return_type="list")
    checks.equal("of a model", [trace.info.trace_id for trace in chosen], ids)


@section
def conversations():
    import mlflow.tracing

    @mlflow.trace
    def turn(session, user, number):
        mlflow.update_current_trace(metadata={"mlflow.trace.session": session, "mlflow.trace.user": user})
        return number

    ids = {}
    for number in range(6):
        ids[number] = traced(turn, f"session {number % 2}", f"user {number % 3}", number).info.trace_id
        time.sleep(0.002)
    chosen = client.search_traces(**of([experiment_id]), filter_string="metadata.`mlflow.trace.session` = 'session 1'", order_by=["timestamp ASC"])
    checks.equal("of a session, in order", [trace.data.spans[0].outputs for trace in chosen], [1, 3, 5])
    checks.equal("of a user in a session", found("metadata.`mlflow.trace.session` = 'session 1' AND metadata.`mlflow.trace.user` = 'user 0'"), [ids[3]])
    if not hasattr(mlflow, "search_sessions"):
        return checks.skip("search_sessions", "the client has none")
    with mlflow.tracing.context(session_id="session 2", user="user 9", tags={"by": "context"}):
        answer("in a context")
    trace = arrived(mlflow.get_last_active_trace_id())
    checks.equal("context", (trace.info.trace_metadata["mlflow.trace.session"], trace.info.trace_metadata["mlflow.trace.user"], trace.info.tags["by"]), ("session 2", "user 9", "context"))
    sessions = {session.id: [trace.data.spans[0].outputs for trace in session] for session in mlflow.search_sessions(locations=[experiment_id])}
    checks.equal("sessions", {key: sessions.get(key) for key in ("session 0", "session 1")}, {"session 0": [0, 2, 4], "session 1": [1, 3, 5]})


@section
def traces_of_runs():
    before = traced(answer, "before").info.trace_id
    with mlflow.start_run() as run:
        inside = traced(answer, "inside").info.trace_id
    run_id = run.info.run_id
    checks.equal("made in the run", found(f"run_id = '{run_id}'"), [inside])
    checks.equal("by its metadata", found(f"metadata.`mlflow.sourceRun` = '{run_id}'"), [inside])
    checks.equal("by the argument", [trace.info.trace_id for trace in mlflow.search_traces(**of([experiment_id]), run_id=run_id, return_type="list")], [inside])
    client.link_traces_to_run(trace_ids=[before], run_id=run_id)
    checks.equal("linked to it", found(f"run_id = '{run_id}'"), sorted([before, inside]))
    client.link_traces_to_run(trace_ids=[before, inside], run_id=run_id)
    checks.equal("linked again", found(f"run_id = '{run_id}'"), sorted([before, inside]))
    checks.refused("too many at once", "INVALID_PARAMETER_VALUE", client.link_traces_to_run, [f"tr-{number}" for number in range(101)], run_id)
    client.delete_run(run_id)
    checks.equal("of a deleted run", found(f"run_id = '{run_id}'"), sorted([before, inside]))
    client.restore_run(run_id)
    checks.equal("of a restored run", found(f"run_id = '{run_id}'"), sorted([before, inside]))


@section
def prompts_of_traces():
    name = unique("greeting").replace(" ", "-")
    mlflow.genai.register_prompt(name=name, template="Hello {{name}}")
    mlflow.genai.register_prompt(name=name, template="Hi {{name}}")

    @mlflow.trace
    def greet():
        return [mlflow.genai.load_prompt(f"prompts:/{name}/{version}").format(name="é") for version in (1, 2)]

    greet()
    trace_id = mlflow.get_last_active_trace_id()
    trace = arrived(trace_id)
    checks.equal("what was made of them", trace.data.spans[0].outputs, ["Hello é", "Hi é"])
    for _ in range(100):  # Newer clients say it on a thread of their own.
        linked = client.get_trace(trace_id, display=False).info.tags.get("mlflow.linkedPrompts")
        if linked:
            break
        time.sleep(0.05)
    checks.equal("linked", sorted((each["name"], str(each["version"])) for each in json.loads(linked or "[]")), [(name, "1"), (name, "2")])


# ------------------------------------------------------------------------------------------- searches


@section
def data_frames():
    own = client.create_experiment(unique("frames"))
    start_ns = 1_700_000_000_000_000_000
    made = []
    for number in range(23):
        span = start(f"n{number % 3}", "CHAIN", inputs={"number": number, "text": f"é {number}"}, attributes={"k": number},
                     tags={"parity": "even" if number % 2 == 0 else "odd"}, experiment_id=own, start_time_ns=start_ns + number * 1_000_000_000)
        child = start("part one", "LLM", span, inputs=number, start_time_ns=start_ns + number * 1_000_000_000)
        child.end(outputs={"half": number / 2, "a.b": "dotted"}, end_time_ns=start_ns + number * 1_000_000_000 + 5_000_000)
        span.end(outputs=[number, None], end_time_ns=start_ns + number * 1_000_000_000 + (number + 1) * 10_000_000)
        made.append((span, child))
    for span, _ in made:
        arrived(span.trace_id)
    mlflow.log_feedback(trace_id=made[4][0].trace_id, name="good", value=True)

    frame = mlflow.search_traces(**of([own]), order_by=["timestamp ASC"])
    checks.equal("rows", len(frame), 23)
    checks.equal("columns", sorted(frame.columns), sorted([
        "trace_id", "trace", "client_request_id", "state", "request_time", "execution_duration", "request", "response", "trace_metadata", "tags", "spans", "assessments"]))
    expected = {
        "trace_id": [span.trace_id for span, _ in made],
        "client_request_id": [None] * 23,
        "state": ["OK"] * 23,
        "request_time": [start_ns // 1_000_000 + number * 1000 for number in range(23)],
        "execution_duration": [(number + 1) * 10 for number in range(23)],
        "request": [{"number": number, "text": f"é {number}"} for number in range(23)],
        "response": [[number, None] for number in range(23)],
    }
    for column, values in expected.items():
        found_values = [getattr(value, "value", value) if column == "state" else value for value in frame[column]]
        checks.equal_each(column, found_values, values)
    checks.equal_each("tag", [tags["parity"] for tags in frame["tags"]], ["even" if number % 2 == 0 else "odd" for number in range(23)])
    checks.equal_each("name", [tags["mlflow.traceName"] for tags in frame["tags"]], [f"n{number % 3}" for number in range(23)])
    checks.equal_each("spans", [[span["name"] for span in spans] for spans in frame["spans"]], [[f"n{number % 3}", "part one"] for number in range(23)])
    checks.equal_each("attribute", [json.loads(spans[0]["attributes"]["k"]) for spans in frame["spans"]], range(23))
    checks.equal_each("numbers of spans", [json.loads(metadata["mlflow.trace.sizeStats"])["num_spans"] for metadata in frame["trace_metadata"]], [2] * 23)
    checks.equal("assessments", [[each["assessment_name"] for each in assessments] for assessments in frame["assessments"]], [["good"] if number == 4 else [] for number in range(23)])
    for row, (span, child) in list(zip(frame.itertuples(), made))[::7]:
        compare("trace of a row", mlflow.entities.Trace.from_json(row.trace), [span, child])

    traces = mlflow.search_traces(**of([own]), order_by=["timestamp ASC"], return_type="list")
    for trace, (span, child) in list(zip(traces, made))[::5]:
        compare("trace of a list", trace, [span, child])
    bare = client.search_traces(**of([own]), include_spans=False)
    checks.equal("without spans", ([len(trace.data.spans) for trace in bare], len(bare)), ([0] * 23, 23))
    checks.equal("the latest come first", [trace.info.trace_id for trace in bare], expected["trace_id"][::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fields = mlflow.search_traces(**of([own]), order_by=["timestamp ASC"], extract_fields=["n1.inputs.number", "`part one`.outputs.half", "`part one`.outputs.`a.b`", "n1.outputs", "absent.inputs"])
    checks.equal_each("extracted outputs", fields["`part one`.outputs.half"] if "`part one`.outputs.half" in fields else fields["part one.outputs.half"], [number / 2 for number in range(23)])
    checks.equal("extracted inputs", [None if pd.isna(value) else int(value) for value in fields["n1.inputs.number"]], [number if number % 3 == 1 else None for number in range(23)])
    checks.equal("at most", len(mlflow.search_traces(**of([own]), max_results=5)), 5)
    checks.equal("none", len(mlflow.search_traces(**of([own]), filter_string="name = 'absent'")), 0)

    for order, key in ((["timestamp ASC"], lambda n: n), (["execution_time DESC"], lambda n: -n), (["name ASC", "timestamp DESC"], lambda n: (n % 3, -n)),
                       (["tags.parity DESC", "timestamp ASC"], lambda n: (n % 2 == 0, n))):
        for size in (1, 4, 23):
            ids, token, pages = [], None, 0
            while True:
                page = client.search_traces(**of([own]), max_results=size, page_token=token, order_by=order, include_spans=False)
                ids += [trace.info.trace_id for trace in page]
                token, pages = page.token, pages + 1
                if not token or pages > 30:
                    break
            checks.equal(f"pages of {size} by {order}", ids, [made[number][0].trace_id for number in sorted(range(23), key=key)])
    checks.refused("token", ("INVALID_PARAMETER_VALUE", "INTERNAL_ERROR"), client.search_traces, **of([own]), page_token="not a token")
    checks.refused("too many", "INVALID_PARAMETER_VALUE", client.search_traces, **of([own]), max_results=501)


FILTERS = [
    ("status = 'OK'", "AD"), ("trace.status = 'OK'", "AD"), ("attributes.status = 'OK'", "AD"), ("status = 'ok'", ""), ("status ILIKE 'o%'", "AD"), ("status RLIKE '^O'", "AD"),
    ("status IN ('OK','ERROR')", "ABD"), ("status NOT IN ('OK')", "BC"), ("timestamp > {t}1500", "BCD"), ("timestamp_ms > {t}1500", "BCD"),
    ("timestamp > {t}0500 AND timestamp < {t}2500", "AB"), ("execution_time > 100", "B"), ("execution_time_ms >= 100", "AB"), ("end_time > {t}2400", "BCD"), ("end_time_ms <= {t}1100", "A"),
    ("name = 'alpha'", "A"), ("name ILIKE 'alpha'", "AB"), ("name LIKE 'al%'", "A"), ("name RLIKE 'a.*a$'", "A"), ("request_id IN ('{A}')", "A"), ("request_id = '{B}'", "B"),
    ("client_request_id LIKE 'cr%'", "A"), ("run_id = '{run}'", "AD"), ("metadata.`mlflow.sourceRun` = '{run}'", "AD"),
    ("tags.t = 'one'", "A"), ("tag.t = 'one'", "A"), ("tags.`t` = 'one'", "A"), ('tags."t" = \'one\'', "A"), ("tags.k.d = '1'", "A"), ("tags.t != 'one'", "BC"), ("tags.t RLIKE '^[oO]ne$'", "AB"),
    ("metadata.m = 'x'", "A"), ("metadata.m != 'x'", "B"), ("span.name = 'root'", "AB"), ("span.name != 'root'", "AD"), ("span.type IN ('LLM','TOOL')", "AD"),
    ("span.type NOT IN ('LLM')", "ABD"), ("span.status = 'ERROR'", "B"), ("span.attributes.model LIKE '%gpt%'", "A"), ("span.attributes.model RLIKE '^gpt'", "A"),
    ("span.content LIKE '%hello%'", "A"), ("trace.text LIKE '%hello%'", "A"), ("feedback.good = 'true'", "A"), ("feedback.good != 'true'", "B"), ("feedback.good = 'True'", ""),
    ("feedback.score = '0.9'", "A"), ("feedback.score = '1.0'", "B"), ("feedback.score = '1'", ""), ("feedback.txt = '\"yes\"'", "A"), ("feedback.txt LIKE '%yes%'", "A"),
    ("expectation.exp = '\"v\"'", "A"), ("trace.name = 'alpha' AND tags.t = 'one' AND span.type = 'LLM'", "A"), ("name = 'absent'", ""),
]
REFUSED = [
    "attr.status = 'OK'", "state = 'OK'", "trace_id = 'x'", "request_time > 5", "experiment_id = '1'", "timestamp > '1500'", "timestamp >= 1500.5", "timestamp IN (1000)",
    "name IN ('alpha')", "run_id IN ('x')", "tags.t IN ('one')", "metadata.m IN ('x')", "text LIKE '%hello%'", "span.foo = 'x'", "spans.name = 'x'", "span.attributes. = 'x'",
    "feedback. = 'x'", "feedback.score = 1", "feedback.score > '0.5'", "assessment.good = 'true'", "status = 'OK' OR status = 'ERROR'", "(status = 'OK')", "status = OK", "status > 'A'",
]


@section
def filters():
    own = client.create_experiment(unique("filters"))
    run_id = client.create_run(own).info.run_id
    base = 1_700_000_000_000  # Milliseconds; {t} in the filters stands for all but the last four digits.
    traces = {}

    def make(letter, name, at, duration, state, tags=None, metadata=None, request=None, spans=()):
        root = start(spans[0][0] if spans else "nothing", spans[0][1] if spans else "UNKNOWN", inputs=None, tags=tags, experiment_id=own, start_time_ns=(base + at) * 1_000_000)
        with mlflow.tracing.trace_manager.InMemoryTraceManager.get_instance().get_trace(root.trace_id) as trace:
            trace.info.trace_metadata.update(metadata or {})
            trace.info.client_request_id = request
        for child, kind, attributes in spans[1:]:
            start(child, kind, root, attributes=attributes, start_time_ns=(base + at) * 1_000_000).end(end_time_ns=(base + at + 1) * 1_000_000)
        if spans:
            root.set_attributes(spans[0][2])
        root.end(status=state, end_time_ns=(base + at + duration) * 1_000_000)
        traces[letter] = root.trace_id
        arrived(root.trace_id)
        if name:
            client.set_trace_tag(root.trace_id, "mlflow.traceName", name)
        else:
            client.delete_trace_tag(root.trace_id, "mlflow.traceName")

    make("A", "alpha", 1000, 100, "OK", {"t": "one", "k.d": "1"}, {"mlflow.sourceRun": run_id, "m": "x"}, "cr1",
         [("root", "CHAIN", {}), ("llm_call", "LLM", {"model": "gpt-4", "q": "hello world"})])
    make("B", "Alpha", 2000, 500, "ERROR", {"t": "One"}, {"m": "y"}, None, [("root", "AGENT", {"model": "claude"})])
    make("D", None, 3000, 50, "OK", None, None, None, [("tool", "TOOL", {})])
    client.link_traces_to_run([traces["D"]], run_id)
    # A trace in progress, as clients of version 2 of the API made them.
    made = requests.post(f"{TRACKING_URI}/api/2.0/mlflow/traces", timeout=60, json={"experiment_id": own, "timestamp_ms": base + 3000, "tags": [{"key": "t", "value": "two"}]}).json()
    traces["C"] = made["trace_info"]["request_id"]
    for letter, name, value in (("A", "good", True), ("A", "score", 0.9), ("A", "txt", "yes"), ("B", "good", False), ("B", "score", 1)):
        mlflow.log_feedback(trace_id=traces[letter], name=name, value=value)
    mlflow.log_expectation(trace_id=traces["A"], name="exp", value="v")

    letters = {trace_id: letter for letter, trace_id in traces.items()}
    for filter_string, expected in FILTERS:
        text = filter_string.replace("{t}", str(base)[:-4]).replace("{run}", run_id).replace("{A}", traces["A"]).replace("{B}", traces["B"])
        try:
            answered = "".join(sorted(letters[trace_id] for trace_id in found(text, [own])))
        except Exception as error:
            answered = repr(error)
        checks.equal(filter_string, answered, expected)
    for filter_string in REFUSED:
        checks.refused(filter_string, "INVALID_PARAMETER_VALUE", found, filter_string, [own])
    for order in ("request_time", "span.name", "feedback.good", "client_request_id", "foo"):
        checks.refused(f"by {order}", "INVALID_PARAMETER_VALUE", found, None, [own], order_by=[order])
    checks.equal("two experiments", len(found(None, [own, experiment_id])), 4 + len(found(None)))
    checks.equal("no such experiment", found(None, ["999999999"]), [])


# ------------------------------------------------------------------------------------------- assessments


@section
def assessments():
    trace_id = traced(answer, "assessed").info.trace_id
    judge = AssessmentSource(source_type="LLM_JUDGE", source_id="judge é")
    for number, value in enumerate(VALUES):
        feedback = mlflow.log_feedback(trace_id=trace_id, name=f"f{number}", value=value, source=judge, rationale="why é", metadata={"k": "v", "é": "😀"})
        read = mlflow.get_assessment(trace_id, feedback.assessment_id)
        checks.equal(f"feedback {value!r}", (read.value, read.rationale, read.metadata, read.name), (value, "why é", {"k": "v", "é": "😀"}, f"f{number}"))
        checks.equal("its source", (read.source.source_type, read.source.source_id), ("LLM_JUDGE", "judge é"))
        checks.equal("its times", (read.create_time_ms, read.last_update_time_ms), (feedback.create_time_ms, feedback.last_update_time_ms))
        expectation = mlflow.log_expectation(trace_id=trace_id, name=f"e{number}", value=value)
        read = mlflow.get_assessment(trace_id, expectation.assessment_id)
        checks.equal(f"expectation {value!r}", (read.value, read.source.source_type), (value, "HUMAN"))
    failed = mlflow.log_feedback(trace_id=trace_id, name="failed", error=ValueError("no judge"))
    error = mlflow.get_assessment(trace_id, failed.assessment_id).error
    checks.equal("error", (error.error_code, error.error_message), ("ValueError", "no judge"))

    first = mlflow.log_feedback(trace_id=trace_id, name="good", value=True)
    second = mlflow.override_feedback(trace_id=trace_id, assessment_id=first.assessment_id, value=False, rationale="no")
    checks.equal("overridden", mlflow.get_assessment(trace_id, first.assessment_id).valid, False)
    checks.equal("by", mlflow.get_assessment(trace_id, second.assessment_id).overrides, first.assessment_id)
    mlflow.delete_assessment(trace_id=trace_id, assessment_id=second.assessment_id)
    checks.equal("valid again", mlflow.get_assessment(trace_id, first.assessment_id).valid, True)
    checks.refused("a deleted one", "RESOURCE_DOES_NOT_EXIST", mlflow.get_assessment, trace_id, second.assessment_id)
    checks.equal("found by feedback", found("feedback.good = 'true'"), [trace_id])
    checks.equal("found by number", found("feedback.f3 = '0.5'"), [trace_id])
    checks.equal("all of the trace", len(mlflow.get_trace(trace_id).info.assessments), 2 * len(VALUES) + 2)

    span = mlflow.get_trace(trace_id).data.spans[1]
    of_span = mlflow.log_feedback(trace_id=trace_id, name="of a span", value="fine", span_id=span.span_id)
    checks.equal("of a span", mlflow.get_assessment(trace_id, of_span.assessment_id).span_id, span.span_id)
    checks.equal("with the trace", [each.assessment_id for each in mlflow.get_trace(trace_id).search_assessments("of a span", span_id=span.span_id)], [of_span.assessment_id])

    mlflow.update_assessment(trace_id=trace_id, assessment_id=first.assessment_id,
                             assessment=Feedback(name="better", value={"now": ["é", 2.5]}, rationale="changed", metadata={"added": "1"}))
    read = mlflow.get_assessment(trace_id, first.assessment_id)
    checks.equal("updated", (read.name, read.value, read.rationale, read.metadata), ("better", {"now": ["é", 2.5]}, "changed", {"added": "1"}))
    mlflow.update_assessment(trace_id=trace_id, assessment_id=first.assessment_id, assessment=Feedback(name="better", value=0.25, metadata={"more": "2"}))
    read = mlflow.get_assessment(trace_id, first.assessment_id)
    checks.equal("updated in part", (read.value, read.rationale, read.metadata), (0.25, "changed", {"added": "1", "more": "2"}))

    if hasattr(mlflow.entities, "IssueReference") and not is_old_server():
        issue = mlflow.log_assessment(trace_id, mlflow.entities.IssueReference(issue_id="iss-" + "1" * 32, issue_name="slow é", rationale="seen twice"))
        read = mlflow.get_assessment(trace_id, issue.assessment_id)
        checks.equal("issue", (read.name, read.issue.issue_name, read.rationale), ("iss-" + "1" * 32, "slow é", "seen twice"))
    checks.refused("of no trace", ("RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST"), mlflow.log_feedback, trace_id="tr-" + uuid.uuid4().hex, name="x", value=1)
    checks.refused("overriding nothing", "RESOURCE_DOES_NOT_EXIST", mlflow.override_feedback, trace_id=trace_id, assessment_id="a-absent", value=1)

    with mlflow.start_span("assessed while it runs") as live:
        mlflow.log_feedback(trace_id=live.trace_id, name="early", value=0.75, source=judge, rationale="so far", metadata={"k": "v"})
        mlflow.log_expectation(trace_id=live.trace_id, name="wanted", value={"a": [1.0]})
    checks.equal("early ones", sorted((each.name, each.value) for each in arrived(live.trace_id).info.assessments), [("early", 0.75), ("wanted", {"a": [1.0]})])
    checks.equal("found by them", found("feedback.early = '0.75'"), [live.trace_id])


# ------------------------------------------------------------------------------------------- copies and deletion


@section
def copies():
    own = client.create_experiment(unique("copies"))
    with mlflow.start_span("original", span_type="AGENT") as root:
        root.set_inputs({"q": "é"})
        with mlflow.start_span("part", span_type="LLM") as part:
            part.set_outputs([1, 2.5])
            part.add_event(SpanEvent("seen", attributes={"a": "b"}))
        root.set_outputs("done")
    trace = arrived(root.trace_id)
    again = mlflow.entities.Trace.from_json(trace.to_json())
    compare("through JSON", again, [root, part])

    with mlflow.start_span("caller") as caller:
        mlflow.add_trace(json.loads(trace.to_json()))
    imported = arrived(caller.trace_id)
    checks.equal("added to another", tree(imported), [("caller", None), ("original", "caller"), ("part", "original")])
    checks.equal("with its values", [(span.inputs, span.outputs) for span in imported.data.spans[1:]], [({"q": "é"}, "done"), (None, [1, 2.5])])
    checks.equal("and events", [event.name for event in imported.data.spans[2].events], ["seen"])

    from mlflow.entities.trace_location import MlflowExperimentLocation

    mlflow.tracing.set_destination(MlflowExperimentLocation(own))
    try:
        answer("elsewhere")
    finally:
        mlflow.tracing.reset()
    elsewhere = arrived(mlflow.get_last_active_trace_id())
    checks.equal("in another experiment", (elsewhere.info.experiment_id, found("", [own])), (own, [elsewhere.info.trace_id]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace_id = mlflow.log_trace(name="logged", request={"q": "é"}, response=[1, None], intermediate_outputs={"docs": ["a"]}, attributes=None, tags={"by": "hand"},
                                    start_time_ms=1_700_000_000_123, execution_time_ms=456)
    logged = arrived(trace_id)
    checks.equal("logged", (logged.data.spans[0].name, logged.data.spans[0].inputs, logged.data.spans[0].outputs, logged.info.tags["by"]), ("logged", {"q": "é"}, [1, None], "hand"))
    checks.equal("its times", (logged.info.request_time, logged.info.execution_duration), (1_700_000_000_123, 456))
    checks.equal("in between", logged.data.intermediate_outputs, {"docs": ["a"]})
    checks.equal("time of its span", datetime.fromtimestamp(logged.data.spans[0].start_time_ns // 1_000_000_000, timezone.utc).year, 2023)


@section
def deletion():
    own = client.create_experiment(unique("deletion"))
    ids = []
    for number in range(6):
        span = start(f"n{number}", "CHAIN", experiment_id=own, start_time_ns=(1_700_000_000 + number) * 1_000_000_000)
        start("part", "LLM", span).end()
        span.end()
        ids.append(span.trace_id)
    for trace_id in ids:
        arrived(trace_id)
    feedback = mlflow.log_feedback(trace_id=ids[0], name="x", value=1.0)
    checks.equal("by id", client.delete_traces(own, trace_ids=ids[:1]), 1)
    checks.equal("gone", (client.search_traces(**of([own]), filter_string=f"request_id = '{ids[0]}'"), client.get_trace(ids[3], display=False) is not None), ([], True))
    checks.refused("its assessments", "RESOURCE_DOES_NOT_EXIST", mlflow.get_assessment, ids[0], feedback.assessment_id)
    checks.equal("again", client.delete_traces(own, trace_ids=ids[:1]), 0)
    checks.equal("of another experiment", client.delete_traces(experiment_id, trace_ids=ids[1:2]), 0)
    checks.equal("the oldest", client.delete_traces(own, max_timestamp_millis=1_700_000_004_000, max_traces=1), 1)
    checks.equal("the oldest is gone", found("", [own]), sorted(ids[2:]))
    checks.equal("until a time", client.delete_traces(own, max_timestamp_millis=1_700_000_003_000), 2)
    checks.equal("left", found("", [own]), sorted(ids[4:]))
    checks.refused("neither ids nor time", "INVALID_PARAMETER_VALUE", client.delete_traces, own)
    checks.refused("both", "INVALID_PARAMETER_VALUE", client.delete_traces, own, max_timestamp_millis=1, trace_ids=ids)
    checks.equal("all", client.delete_traces(own, max_timestamp_millis=int(time.time() * 1000) + 60_000), 2)
    checks.equal("nothing is left", found("", [own]), [])


def spans_as_files():
    """Clients before 3.4: traces by version 2 of the API or by early version 3, their spans in a file."""
    own = [experiment_id]

    @mlflow.trace(span_type="CHAIN", attributes={"team": "blue"})
    def ask(q, n=3):
        with mlflow.start_span("call", span_type="LLM") as span:
            span.set_inputs({"q": q})
            span.set_outputs([1, 2.5, None])
            span.add_event(mlflow.entities.SpanEvent("seen", attributes={"a": "é"}))
        if q == "bad":
            raise ValueError("no é")
        return {"a": q + " 😀"}

    ask("first é")
    try:
        ask("bad")
    except ValueError:
        pass
    with mlflow.start_run() as run:
        ask("in a run")
    for _ in range(100):
        traces = client.search_traces(own, order_by=["timestamp_ms ASC"])
        if len(traces) == 3 and all(len(trace.data.spans) == 2 for trace in traces):
            break
        time.sleep(0.1)
    checks.equal("requests", [json.loads(trace.data.request) for trace in traces], [{"q": q, "n": 3} for q in ("first é", "bad", "in a run")])
    checks.equal("responses", [trace.data.response and json.loads(trace.data.response) for trace in traces], [{"a": "first é 😀"}, None, {"a": "in a run 😀"}])
    checks.equal("states", [str(getattr(trace.info.status, "value", trace.info.status)) for trace in traces], ["OK", "ERROR", "OK"])
    first = client.get_trace(traces[0].info.request_id)
    outer, call = first.data.spans
    checks.equal("spans", [(span.name, span.span_type) for span in first.data.spans], [("ask", "CHAIN"), ("call", "LLM")])
    checks.equal("parent", (call.parent_id, outer.parent_id), (outer.span_id, None))
    checks.equal("values", (outer.inputs, outer.outputs, call.inputs, call.outputs), ({"q": "first é", "n": 3}, {"a": "first é 😀"}, {"q": "first é"}, [1, 2.5, None]))
    checks.equal("attribute", outer.get_attribute("team"), "blue")
    checks.equal("event", [(event.name, event.attributes) for event in call.events], [("seen", {"a": "é"})])
    checks.equal("what happened", traces[1].data.spans[0].events[0].attributes["exception.message"], "no é")
    frame = mlflow.search_traces(own, order_by=["timestamp_ms ASC"])
    checks.equal("rows", (len(frame), [len(spans) for spans in frame["spans"]]), (3, [2] * 3))
    checks.equal("of the run", [trace.info.request_id for trace in client.search_traces(own, filter_string=f"run_id = '{run.info.run_id}'")], [traces[2].info.request_id])
    checks.equal("by state", [trace.info.request_id for trace in client.search_traces(own, filter_string="status = 'ERROR'")], [traces[1].info.request_id])
    checks.equal("by name", len(client.search_traces(own, filter_string="name = 'ask'", max_results=2)), 2)
    client.set_trace_tag(first.info.request_id, "k é", "v 😀")
    checks.equal("tag", client.get_trace(first.info.request_id).info.tags["k é"], "v 😀")
    client.delete_trace_tag(first.info.request_id, "k é")
    checks.true("no tag", "k é" not in client.get_trace(first.info.request_id).info.tags)
    checks.equal("deleted by id", client.delete_traces(experiment_id, request_ids=[first.info.request_id]), 1)
    checks.equal("deleted by time", client.delete_traces(experiment_id, max_timestamp_millis=int(time.time() * 1000) + 60_000), 2)
    checks.equal("none are left", len(client.search_traces(own)), 0)


def main():
    global experiment_id, mlflow_server
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri(TRACKING_URI)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}")
    if VERSION < (2, 14):
        checks.skip("trace_calls.py", f"mlflow {mlflow.__version__} has no traces")
        return checks.finish()
    if requests.get(f"{TRACKING_URI}/openapi/v1.json", timeout=60).status_code != 200:
        mlflow_server = tuple(map(int, requests.get(f"{TRACKING_URI}/version", timeout=60).text.split(".")[:2]))
    for part in sections if VERSION >= (3, 4) else [spans_as_files]:
        if part.__name__ in sys.argv[2:] or not sys.argv[2:]:
            experiment_id = mlflow.set_experiment(unique(part.__name__)).experiment_id
            checks.run([part], lambda: None)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
