"""A certificate authority for one cluster, and kubeconfigs that use it."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

SERVER = "https://10.96.0.1:443"


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into `directory`; all are for a day."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.ca = Pair(directory / "ca.crt", directory / "ca.key")
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self.ca.key))
        _openssl(
            *("req", "-x509", "-new", "-key", str(self.ca.key), "-subj", "/CN=moorage-test-ca", "-days", "1"),
            *("-out", str(self.ca.certificate)),
        )

    def issue(self, name: str, subject: str, *, alternative_names: str = "") -> Pair:
        """A certificate for `subject`, as server for `alternative_names` too."""
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        usage = "extendedKeyUsage=clientAuth,serverAuth\n"
        extensions.write_text(usage + (f"subjectAltName={alternative_names}\n" if alternative_names else ""))
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pair.key))
        _openssl("req", "-new", "-key", str(pair.key), "-subj", subject, "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.ca.certificate), "-CAkey", str(self.ca.key)),
            *("-CAcreateserial", "-days", "1", "-extfile", str(extensions), "-out", str(pair.certificate)),
        )
        return pair

    def signing_key(self, name: str) -> Pair:
        """A key for service account tokens, with its public half as the certificate."""
        pair = Pair(self.directory / f"{name}.pub", self.directory / f"{name}.key")
        _openssl("genrsa", "-out", str(pair.key), "2048")
        _openssl("rsa", "-in", str(pair.key), "-pubout", "-out", str(pair.certificate))
        return pair

    def kubeconfig(self, name: str, subject: str) -> Path:
        """A kubeconfig for a new client certificate."""
        pair = self.issue(name, subject)
        path = self.directory / f"{name}.kubeconfig"
        path.write_text(
            f"""\
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: {name}}}}}]
clusters: [{{name: test, cluster: {{server: "{SERVER}", certificate-authority-data: {_data(self.ca.certificate)}}}}}]
users:
- name: {name}
  user: {{client-certificate-data: {_data(pair.certificate)}, client-key-data: {_data(pair.key)}}}
"""
        )
        path.chmod(0o600)
        return path


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
