"""Files on this machine, and how the client scripts of this folder compare them with those of runs."""

import hashlib
import importlib.util
import tempfile
from contextlib import contextmanager
from pathlib import Path


def artifacts_out_of_reach(artifact_uri):
    """Why this client cannot get at artifacts there, or None if it can."""
    if artifact_uri.startswith("s3:") and not importlib.util.find_spec("boto3"):
        return "artifacts are on S3, and there is no boto3"
    return None


@contextmanager
def folder(files=()):
    """A folder on this machine with the files, {path: bytes}."""
    with tempfile.TemporaryDirectory() as place:
        for path, data in dict(files).items():
            file = Path(place, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        yield Path(place)


def files_below(place):
    """{path: bytes} of a folder on this machine."""
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in sorted(Path(place).rglob("*")) if file.is_file()}


def digests(files):
    """{path: (length, SHA-256)}, which can be compared, and shown when it differs."""
    return {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()}
