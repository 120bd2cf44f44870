"""Real servers on 127.0.0.1, each in a process of its own and gone with what it held: S3, ssh, MLflow on both."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
HAS_SSH = SSHD is not None and shutil.which("ssh-keygen") is not None and bool(importlib.util.find_spec("dvc_ssh"))
HAS_S3 = all(importlib.util.find_spec(name) for name in ("boto3", "dvc_s3", "moto"))

_START_SECONDS = 600
_PRIVILEGE_SEPARATION = Path("/run/sshd")  # sshd wants it where root starts it; Debian's service makes it

_SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
PidFile none
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True, slots=True)
class S3:
    """A bucket, and whose keys open it."""

    address: str
    bucket: str
    key_id: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """What MLflow, boto3 and DVC read."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def names(self) -> list[str]:
        """Of all objects."""
        objects = self.client("s3").list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [str(found["Key"]) for found in objects]

    def client(self, service: str) -> Any:
        return import_module("boto3").client(
            service,
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
        )


@dataclass(frozen=True, slots=True)
class Ssh:
    """A server that lets the current user in with one key. folder: one that it may write to."""

    port: int
    user: str
    key: Path
    folder: Path


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """moto's, which asks for keys as soon as there is someone who has some; with one bucket."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, folder / "s3.log", port, {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}):
        people = S3(address, "", "nobody", "nothing").client("iam")
        people.create_user(UserName="logos")
        everything = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
        people.put_user_policy(UserName="logos", PolicyName="all", PolicyDocument=everything)
        key = people.create_access_key(UserName="logos")["AccessKey"]
        made = S3(address, "logos", key["AccessKeyId"], key["SecretAccessKey"])
        made.client("s3").create_bucket(Bucket=made.bucket)
        yield made


@contextmanager
def ssh_server(folder: Path) -> Iterator[Ssh]:
    """OpenSSH's, by the current user, with keys made for it."""
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=60)
    (folder / "sshd_config").write_text(_SSHD_CONFIG.format(port=port, folder=folder))
    stored = folder / "stored"
    stored.mkdir()
    made = os.geteuid() == 0 and not _PRIVILEGE_SEPARATION.is_dir()
    if made:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    try:
        command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
        with _running(command, folder / "sshd.log", port, {}):
            yield Ssh(port, getpass.getuser(), folder / "user", stored)
    finally:
        if made:
            _PRIVILEGE_SEPARATION.rmdir()


@contextmanager
def mlflow_server(database: str, s3: S3, folder: Path) -> Iterator[str]:
    """Its address. Runs and models go to the database, files to the bucket, through the server."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", f"s3://{s3.bucket}/mlflow"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with _running(command, folder / "mlflow.log", port, s3.environment | quiet):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: Sequence[str], log: Path, port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """From the port's first answer on; it and what it started are gone when the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | dict(environment), stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_for(process, port, log)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return
        time.sleep(0.1)
    raise TimeoutError(f"{process.args!r} does not answer:\n{log.read_text()}")
