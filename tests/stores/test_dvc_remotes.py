"""DVC's remotes for real: a folder, an OpenSSH server and an S3 server; what is pulled is what was pushed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.small_project import small_project
from tests.support.store_servers import HAS_S3, HAS_SSH, S3, Ssh, ssh_server

pytestmark = pytest.mark.slow

DVC = (sys.executable, "-m", "dvc")
WHAT = ("catalogue", "split", "logos.dvc")
DATA = ("data", "logos")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A project under git and DVC, and the environment of its commands."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.root,
            env=os.environ | {"DVC_NO_ANALYTICS": "1"} | self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{command} gave {done.returncode}:\n{said}"
        assert "Traceback" not in said
        return said

    def dvc(self, *command: str, code: int = 0, **environment: str) -> str:
        return self.run(*DVC, *command, code=code, **environment)

    def configure(self, remote: str, **values: str) -> None:
        """What `dvc remote add` and `dvc remote modify --local` write, without the seconds that each takes."""
        lines = [f"['remote \"{remote}\"']", *(f"    {name} = {value}" for name, value in values.items())]
        with (self.root / ".dvc/config.local").open("a") as file:
            file.write("\n".join([*lines, ""]))

    def clone(self, to: Path) -> Checkout:
        self.run("git", "clone", "--quiet", str(self.root), str(to))
        shutil.copy(self.root / ".dvc/config.local", to / ".dvc")
        return Checkout(to, self.environment)

    def digests(self) -> dict[str, str]:
        """Of all that DVC versions."""
        files = [path for name in DATA for path in (self.root / name).rglob("*") if path.is_file()]
        tracked = [path for path in files if path.name not in (".gitignore", "quality.json")]  # quality.json is in git
        return {str(p.relative_to(self.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in tracked}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    root = tmp_path_factory.mktemp("project")
    small_project(root)
    (root / "data/quality.md").write_text("# Quality of the images\n")
    (root / "data/quality.json").write_text("{}\n")
    names = {f"GIT_{who}_{what}": "t@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    made = Checkout(root, names | {"DVC_SITE_CACHE_DIR": str(tmp_path_factory.mktemp("site"))})
    shutil.copytree(Path(__file__).parents[2] / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__py*"))
    made.run("git", "init", "--quiet")
    made.dvc("init", "--quiet")
    made.dvc("add", "--quiet", "logos")
    made.dvc("commit", "--quiet", "--force", "catalogue", "split")
    (root / ".gitignore").write_text("/logos\n/data\n!/data/quality.json\n")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "start")
    return made


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    if not HAS_SSH:
        pytest.skip("no ssh: apt install openssh-server, pip install dvc-ssh")
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


def there_and_back(checkout: Checkout, remote: str, to: Path) -> None:
    """Push, and pull into an empty clone; what comes is held against what was there."""
    assert "files pushed" in checkout.dvc("push", "--remote", remote, *WHAT)
    clone = checkout.clone(to)
    assert len(clone.digests()) == 0
    clone.dvc("pull", "--remote", remote, *WHAT)
    assert clone.digests() == checkout.digests()
    assert len(clone.digests()) == 24 + 4


def test_a_folder(checkout: Checkout, tmp_path: Path) -> None:
    checkout.configure("folder", url=str(tmp_path / "stored"))
    there_and_back(checkout, "folder", tmp_path / "clone")


def test_ssh(checkout: Checkout, ssh: Ssh, tmp_path: Path) -> None:
    address = f"ssh://{ssh.user}@127.0.0.1:{ssh.port}{ssh.folder}"
    checkout.configure("machine", url=address, keyfile=str(ssh.key))
    there_and_back(checkout, "machine", tmp_path / "clone")
    assert len([path for path in ssh.folder.rglob("*") if path.is_file()]) == 24 + 1 + 4


def test_s3(checkout: Checkout, s3: S3, tmp_path: Path) -> None:
    checkout.environment.update(s3.environment)
    checkout.configure("bucket", url=f"s3://{s3.bucket}/dvc", endpointurl=s3.address)
    there_and_back(checkout, "bucket", tmp_path / "clone")
    assert len(s3.names()) == 24 + 1 + 4


@pytest.mark.nightly
def test_a_wrong_secret_is_told(checkout: Checkout, s3: S3) -> None:
    checkout.configure("refused", url=f"s3://{s3.bucket}/other", endpointurl=s3.address)
    environment = s3.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    said = checkout.dvc("push", "--remote", "refused", "split", code=255, **environment)
    assert "signature we calculated does not match" in said


@pytest.mark.nightly
def test_a_key_that_the_server_does_not_know_is_told(checkout: Checkout, ssh: Ssh) -> None:
    address = f"ssh://{ssh.user}@127.0.0.1:{ssh.port}{ssh.folder}/other"
    checkout.configure("stranger", url=address, keyfile=str(ssh.folder.parent / "host"))
    said = checkout.dvc("push", "--remote", "stranger", "split", code=255)
    assert "Permission denied" in said


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "url"),
    [
        pytest.param("no-bucket", "s3://logos/dvc", marks=pytest.mark.skipif(not HAS_S3, reason="no dvc-s3")),
        pytest.param("no-machine", "ssh://127.0.0.1:9/stored", marks=pytest.mark.skipif(not HAS_SSH, reason="no ssh")),
    ],
)
def test_a_server_that_is_not_there_is_told(checkout: Checkout, name: str, url: str) -> None:
    checkout.configure(name, url=url, **({"endpointurl": "http://127.0.0.1:9"} if url.startswith("s3") else {}))
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
    said = checkout.dvc("push", "--remote", name, "split", code=255, **keys)
    assert "127.0.0.1" in said
