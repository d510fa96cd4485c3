#!/usr/bin/env python3
"""Files of runs through the real MLflow client: what goes up comes down byte for byte, in every way there is.

    artifact_calls.py [TRACKING_URI [SECTION…]]

Goes through the server or to S3 directly, as the server's experiments say; the latter needs boto3 and its AWS_* and
MLFLOW_S3_* variables. Works with mlflow 2.x and 3.x. What the client lacks (matplotlib, PIL, scikit-learn) or the
server (uploads in parts) is skipped or done the other way, and said.
"""

import importlib.util
import io
import json
import logging
import os
import posixpath
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checks import Checks, tracking_uri, unique
from files import artifacts_out_of_reach, digests, files_below, folder

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that is prepared above)
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import requests  # noqa: E402
import yaml  # noqa: E402
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: E402
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

MEGABYTE = 1024 * 1024

checks = Checks()
client = MlflowClient(TRACKING_URI)
sections = []
experiment_id = None


def section(*modules):
    """A part of the test; it is skipped where one of the modules is not installed."""

    def add(function):
        def run():
            missing = [module for module in modules if not importlib.util.find_spec(module)]
            if missing:
                checks.skip(function.__name__, f"there is no {missing[0]}")
            else:
                function()

        run.__name__ = function.__name__
        sections.append(run)
        return function

    return add


# ------------------------------------------------------------------------------------------- files and runs


def new_run():
    return client.create_run(experiment_id).info.run_id


def repository_of(run_id):
    """What the client itself reads and writes a run's files with."""
    return get_artifact_repository(client.get_run(run_id).info.artifact_uri)


def through_server(run_id):
    return isinstance(repository_of(run_id), HttpArtifactRepository)


def content(seed, size):
    return np.random.default_rng(seed).bytes(size)


def upload(run_id, path, data):
    """MlflowClient.log_artifact, which takes the name from the local file."""
    with folder({posixpath.basename(path): data}) as place:
        client.log_artifact(run_id, str(place / posixpath.basename(path)), posixpath.dirname(path) or None)


def entries_of(files):
    """The listing that files make: {path: size}, with "folder" for a folder."""
    entries = {path: len(data) for path, data in files.items()}
    for path in files:
        while path := posixpath.dirname(path):
            entries[path] = "folder"
    return entries


def listed(list_folder, path=None):
    """All entries below a folder; list_folder(path) gives (path, is_dir, size) of those directly in it."""
    entries = {}
    for child, is_dir, size in list_folder(path):
        checks.equal(f"{child} is listed below its folder", posixpath.dirname(child), path or "")
        # A folder that a removal has left empty is listed by some stores and not by others.
        below = listed(list_folder, child) if is_dir else None
        if below != {}:
            # MLflow leaves out the size of an empty file.
            entries[child] = "folder" if is_dir else size or 0
        entries.update(below or {})
    return entries


def by_client(run_id):
    return lambda path: [(entry.path, entry.is_dir, entry.file_size) for entry in client.list_artifacts(run_id, path)]


def by_rest(run_id):
    """artifacts/list, which is what the web interface shows."""

    def list_folder(path):
        answer = requests.get(
            f"{TRACKING_URI}/api/2.0/mlflow/artifacts/list", params={"run_id": run_id, **({"path": path} if path else {})}, timeout=60
        )
        answer.raise_for_status()
        # Protocol buffers in JSON leave out what is not set, and give 64 bits as text.
        entries = answer.json().get("files", [])
        return [(entry["path"], entry["is_dir"], int(entry["file_size"]) if "file_size" in entry else None) for entry in entries]

    return list_folder


def check_files(what, run_id, files):
    """The run has these files, {path: bytes}, and no others, whichever way one looks."""
    for way, list_folder in (("list_artifacts", by_client(run_id)), ("artifacts/list", by_rest(run_id))):
        checks.equal(f"{what}: {way}", listed(list_folder), entries_of(files))
    if files:  # The client takes an empty folder for a file.
        with folder() as place:
            mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(place))
            checks.equal(f"{what}: the whole run", digests(files_below(place)), digests(files))
    for path, data in files.items():
        check_file(what, run_id, path, data)


def check_file(what, run_id, path, data):
    expected = digests({path: data})[path]
    with folder() as place:
        file = client.download_artifacts(run_id, path, str(place))
        checks.equal(f"{what}: {path} downloaded", digests({path: Path(file).read_bytes()})[path], expected)
    with folder() as place:
        file = mlflow.artifacts.download_artifacts(artifact_uri=f"runs:/{run_id}/{path}", dst_path=str(place))
        checks.equal(f"{what}: runs:/…/{path}", digests({path: Path(file).read_bytes()})[path], expected)
    answer = get_artifact(run_id, path)
    checks.equal(f"{what}: get-artifact of {path}", (answer.status_code, digests({path: answer.content})[path]), (200, expected))


def get_artifact(run_id, path):
    """The download of the web interface."""
    return requests.get(f"{TRACKING_URI}/get-artifact", params={"run_id": run_id, "path": path}, timeout=60)


def is_mlflows_own():
    """Whether this is MLflow's own server, the reference, whose mistakes are not asked of anybody."""
    server = requests.get(f"{TRACKING_URI}/health", timeout=60).headers.get("Server", "")
    return server.lower().startswith(("uvicorn", "gunicorn", "werkzeug", "waitress"))


# ------------------------------------------------------------------------------------------------- uploads


@section()
def files_and_folders():
    run_id = new_run()
    check_files("nothing yet", run_id, {})
    files = {"model.bin": content(1, 300_000), "a/b/c/deep.bin": content(2, 4096), "a/note.txt": b"line\r\nline\n", "a/b/empty": b""}
    for path, data in files.items():
        upload(run_id, path, data)
    check_files("log_artifact", run_id, files)

    below = {"x.csv": b"ds,y\n1949-01-01,112\n", "deep/er/y.bin": content(3, 70_000), "deep/empty.txt": b"", ".hidden/.z": b"z"}
    with folder(below) as place:
        client.log_artifacts(run_id, str(place))
        client.log_artifacts(run_id, str(place), "into/this")
    files = {**files, **below, **{f"into/this/{path}": data for path, data in below.items()}}
    check_files("log_artifacts", run_id, files)
    with folder() as place:
        client.download_artifacts(run_id, "into", str(place))
        checks.equal("a folder", digests(files_below(place)), digests({p: data for p, data in files.items() if p.startswith("into/")}))

    for data in (content(4, 500_000), b"short", b"", content(5, 10)):
        upload(run_id, "model.bin", data)
        check_file(f"overwritten with {len(data)} bytes", run_id, "model.bin", data)
    check_files("overwritten", run_id, {**files, "model.bin": content(5, 10)})

    checks.equal("list of a file", by_client(run_id)("a/note.txt"), [])
    checks.equal("list of nothing", by_client(run_id)("a/nobody"), [])
    for path in ("nobody", "a/nobody", "into/this/nobody.txt"):
        with folder() as place:
            try:
                client.download_artifacts(run_id, path, str(place))
                checks.fail(f"{path} is not there", "downloaded")
            except Exception as error:
                checks.true(f"{path} is not there", str(error), error)


@section()
def fluent():
    mlflow.set_experiment(experiment_id=experiment_id)
    with folder({"one.txt": b"1", "sub/two.txt": b"22"}) as place, mlflow.start_run() as run:
        mlflow.log_artifact(str(place / "one.txt"), "here")
        mlflow.log_artifacts(str(place), "all")
        mlflow.log_text("äöü – 乗客 ✈\n", "texts/t.txt")
        mlflow.log_dict({"lr": 0.1, "layers": [1, 2], "name": "乗客"}, "dicts/d.json")
        mlflow.log_dict({"lr": 0.1, "layers": [1, 2]}, "dicts/d.yaml")
        uri = mlflow.get_artifact_uri("texts/t.txt")
    run_id = run.info.run_id
    text = "äöü – 乗客 ✈\n"
    checks.equal("load_text", mlflow.artifacts.load_text(uri), text)
    checks.equal("load_dict", mlflow.artifacts.load_dict(f"runs:/{run_id}/dicts/d.json"), {"lr": 0.1, "layers": [1, 2], "name": "乗客"})
    with folder() as place:
        files = files_below(client.download_artifacts(run_id, "dicts", str(place)))
    checks.equal("d.json", json.loads(files["d.json"]), {"lr": 0.1, "layers": [1, 2], "name": "乗客"})
    checks.equal("d.yaml", yaml.safe_load(files["d.yaml"]), {"lr": 0.1, "layers": [1, 2]})
    below = {"one.txt": b"1", "sub/two.txt": b"22"}
    check_files(
        "fluent",
        run_id,
        {
            "here/one.txt": b"1",
            **{f"all/{path}": data for path, data in below.items()},
            "texts/t.txt": text.encode(),
            **{f"dicts/{path}": data for path, data in files.items()},
        },
    )
    root = mlflow.artifacts.list_artifacts(run_id=run_id)
    checks.equal("list_artifacts", [(e.path, e.is_dir) for e in root], [(name, True) for name in ("all", "dicts", "here", "texts")])


@section()
def names():
    if is_mlflows_own():
        checks.skip("names outside ASCII", "MLflow's own server fails to send such files")
    run_id = new_run()
    files = {
        f"{path}": path.encode()
        for path in (
            "with space.txt",
            "two  spaces/and more .txt",
            *([] if is_mlflows_own() else ["Größe/乗客 ✈.csv", "e\u0301 and \u00e9.txt", "🙂"]),
            "plus+equals=and&.txt",
            "quote's,(brackets)[square]{curly}.txt",
            "at@tilde~bang!dollar$semi;colon:star*.txt",
            "100%.txt",
            "no ending",
            ".dots/..two/...three",
            "page.html",
            "image.svg",
            "n" * 200 + ".txt",
            "/".join(["deep"] * 20) + "/file",
        )
    }
    for path, data in files.items():
        upload(run_id, path, data)
    check_files("names", run_id, files)
    if not through_server(run_id):
        return
    for path in ("../out.txt", "a/../../out.txt", "/etc/out.txt"):
        try:
            client.log_text(run_id, "x", path)
            checks.fail(f"{path} is refused", "it was taken")
        except Exception as error:
            checks.true(f"{path} is refused", "nvalid" in str(error), error)


@section("matplotlib")
def figures():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot([1949, 1950, 1951], [112.0, 115.0, 145.0])
    png = io.BytesIO()
    figure.savefig(png)
    run_id = new_run()
    client.log_figure(run_id, figure, "plots/air.png")
    client.log_figure(run_id, figure, "plots/air.svg")
    pyplot.close(figure)
    with folder() as place:
        svg = Path(client.download_artifacts(run_id, "plots/air.svg", str(place))).read_bytes()
    checks.true("SVG", b"<svg" in svg and svg.rstrip().endswith(b"</svg>"))
    check_files("log_figure", run_id, {"plots/air.png": png.getvalue(), "plots/air.svg": svg})


@section("PIL")
def images():
    from PIL import Image

    run_id = new_run()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    client.log_image(run_id, pixels, "array.png")
    client.log_image(run_id, Image.fromarray(pixels), "images of mine/picture.png")
    for path in ("array.png", "images of mine/picture.png"):
        with folder() as place:
            file = Path(client.download_artifacts(run_id, path, str(place)))
            with Image.open(file) as image:
                checks.true(f"pixels of {path}", np.array_equal(np.array(image), pixels))
            check_file("log_image", run_id, path, file.read_bytes())
    checks.true("load_image", np.array_equal(np.array(mlflow.artifacts.load_image(f"runs:/{run_id}/array.png")), pixels))

    # A series of images has names with percent signs, and small copies beside it.
    if mlflow.__version__ < "3":
        checks.skip("images by step", "clients before 3 put random digits after a percent sign, and MLflow's server refuses %23 too")
        return
    steps = new_run()
    for step in range(3):
        client.log_image(steps, pixels, key="air plot", step=step, synchronous=True)
    series = [path for path, _, _ in by_rest(steps)("images")]
    checks.equal("images by step", sorted(posixpath.splitext(path)[1] for path in series), [".png"] * 3 + [".webp"] * 3)
    for path in series:
        with Image.open(io.BytesIO(get_artifact(steps, path).content)) as image:
            checks.true(f"pixels of {path}", path.endswith(".webp") or np.array_equal(np.array(image), pixels))


@section()
def tables():
    run_ids = [new_run(), new_run()]
    path = "tables/errors.json"
    rows = {"model": ["AutoNHITS", "AutoLSTM"], "mae": [1.5, 2.25], "note": ["ä", "乗客"]}
    for run_id in run_ids:
        client.log_table(run_id, rows, path)
    client.log_table(run_ids[0], pd.DataFrame({"model": ["AutoTFT"], "mae": [0.75], "note": [""]}), path)
    expected = pd.DataFrame({"model": [*rows["model"], "AutoTFT"], "mae": [*rows["mae"], 0.75], "note": [*rows["note"], ""]})
    with folder() as place:
        file = Path(client.download_artifacts(run_ids[1], path, str(place)))
        checks.equal("as JSON", json.loads(file.read_text()), {"columns": list(rows), "data": [list(row) for row in zip(*rows.values())]})
    loaded = client.load_table(experiment_id, path, run_ids=run_ids[:1])
    checks.equal("a table that grew", loaded.to_dict("list"), expected.to_dict("list"))
    both = client.load_table(experiment_id, path, run_ids=run_ids, extra_columns=["run_id"])
    checks.equal("of two runs", {run_id: int((both["run_id"] == run_id).sum()) for run_id in run_ids}, dict(zip(run_ids, (3, 2))))


@section("sklearn")
def scikit_learn_model():
    from mlflow import sklearn as flavor
    from sklearn.linear_model import LinearRegression

    x = np.arange(24.0).reshape(12, 2)
    model = LinearRegression().fit(x, x @ [2.0, -1.0] + 3.0)
    mlflow.set_experiment(experiment_id=experiment_id)
    with mlflow.start_run() as run:
        # With requirements given, the client does not import everything anew to find them.
        where = {"artifact_path" if mlflow.__version__ < "3" else "name": "model"}
        info = flavor.log_model(model, pip_requirements=["scikit-learn"], **where)
    for uri in (info.model_uri, f"runs:/{run.info.run_id}/model"):
        checks.equal(f"predictions of {uri}", list(flavor.load_model(uri).predict(x)), list(model.predict(x)))
        with folder() as one, folder() as other:
            flavor.save_model(model, str(one / "model"), pip_requirements=["scikit-learn"])
            saved = files_below(one / "model")
            loaded = files_below(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(other)))
            # Others, such as MLmodel, name the run or the time.
            same = ("model.pkl", "requirements.txt", "conda.yaml", "python_env.yaml")
            checks.equal(f"files of {uri}", *[{path: files.get(path) for path in same} for files in (loaded, saved)])
            checks.true(f"MLmodel of {uri}", run.info.run_id.encode() in loaded["MLmodel"], loaded.keys())


@section()
def large_file():
    run_id = new_run()
    files = {"large/30 MB.bin": content(6, 30 * MEGABYTE + 1)}
    upload(run_id, *next(iter(files.items())))
    check_files("30 MB", run_id, files)
    upload(run_id, "large/30 MB.bin", b"small")
    check_files("small in its place", run_id, {"large/30 MB.bin": b"small"})


@section()
def parts():
    run_id = new_run()
    if not through_server(run_id):
        checks.skip("parts", "files do not go through the server")
        return
    repository = repository_of(run_id)
    try:
        begun = repository.create_multipart_upload("broken off.bin", 2)
        repository.abort_multipart_upload("broken off.bin", begun.upload_id)
        print("parts: the server takes them")
    except requests.HTTPError as error:
        checks.equal("the refusal that clients know", error.response.status_code, 501)
        print("parts: the server takes none, so the client has to fall back")
    # 5 MiB is the least that S3 takes for a part other than the last.
    settings = {
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
        "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(MEGABYTE),
        "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 * MEGABYTE),
    }
    os.environ.update(settings)
    try:
        files = {
            "one part.bin": content(7, 2 * MEGABYTE),
            "three/parts of it.bin": content(8, 12 * MEGABYTE + 7),
            "three/even.bin": content(9, 15 * MEGABYTE),
            "three/too small": b"too small for parts",
        }
        for path, data in files.items():
            upload(run_id, path, data)
        check_files("in parts", run_id, files)
        upload(run_id, "three/even.bin", content(10, 6 * MEGABYTE))
        check_file("in parts again", run_id, "three/even.bin", content(10, 6 * MEGABYTE))
    finally:
        for name in settings:
            del os.environ[name]


# ------------------------------------------------------------------------------------------- removal, races


@section()
def removal():
    run_id = new_run()
    files = {path: path.encode() for path in ("a/1.txt", "a/2.txt", "b/c/3.txt", "b/d/4.txt", "b/d/5 of 6.txt", "6.txt")}
    for path, data in files.items():
        upload(run_id, path, data)
    repository = repository_of(run_id)
    for path, gone in (("a/1.txt", {"a/1.txt"}), ("b/d/5 of 6.txt", {"b/d/5 of 6.txt"}), ("b", {"b/c/3.txt", "b/d/4.txt"})):
        repository.delete_artifacts(path)
        files = {kept: data for kept, data in files.items() if kept not in gone}
        check_files(f"without {path}", run_id, files)
    upload(run_id, "b/c/3.txt", b"new")
    check_files("back again", run_id, {**files, "b/c/3.txt": b"new"})
    repository.delete_artifacts()
    checks.equal("all removed", listed(by_client(run_id)), {})
    upload(run_id, "a/1.txt", b"new")
    check_files("a new start", run_id, {"a/1.txt": b"new"})


@section()
def at_once():
    run_id = new_run()
    contents = [content(100 + number, 200_000 + number) for number in range(8)]

    def work(number):
        for step in range(5):
            upload(run_id, f"of {number}/{step}.bin", contents[number])
            upload(run_id, "wanted by all.bin", contents[number])

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(work, range(len(contents))))
    with folder() as place:
        last = Path(client.download_artifacts(run_id, "wanted by all.bin", str(place))).read_bytes()
    checks.true("one of those that were sent, as a whole", last in contents, f"{len(last)} bytes")
    own = {f"of {number}/{step}.bin": contents[number] for number in range(len(contents)) for step in range(5)}
    check_files("at once", run_id, {"wanted by all.bin": last, **own})


def end_runs():
    while mlflow.active_run():
        mlflow.end_run()


def main():
    global experiment_id
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    experiment_id = client.create_experiment(unique("artifacts"))
    location = client.get_experiment(experiment_id).artifact_location
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}, files in {location}")
    if reason := artifacts_out_of_reach(location):
        checks.skip("artifact_calls.py", reason)
    else:
        checks.run([part for part in sections if part.__name__ in sys.argv[2:] or not sys.argv[2:]], end_runs)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
