"""A certificate authority and the certificates that it signs; `openssl` makes them at run time."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from testkit.wait import PATIENCE_S

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority."""

    def __init__(self, name: str, directory: Path) -> None:
        self._directory = directory
        self._name = name
        self._made = 0
        self.file = directory / f"{name}.pem"
        """Its own certificate: the CA file for programs that accept it."""
        self._key = directory / f"{name}.key"
        uses = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        subject = ["-subj", f"/CN={name}", "-days", "30", *uses]
        _openssl("req", "-x509", *_KEY, *subject, "-keyout", self._key, "-out", self.file)

    def certificate(
        self, *names: str, common_name: str = "unrelated", expired: bool = False
    ) -> Certificate:
        """Make a certificate for these names, as in `DNS:host`, `IP:192.0.2.1`, `URI:sip:host`."""
        self._made += 1
        stem = self._directory / f"{self._name}-{self._made}"
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        subject = ["-subj", f"/CN={common_name}"]
        _openssl("req", "-new", *_KEY, *subject, "-keyout", made.key, "-out", request)
        extensions.write_text(
            "basicConstraints=CA:FALSE\n"
            "subjectKeyIdentifier=hash\n"
            "authorityKeyIdentifier=keyid\n"
            + (f"subjectAltName={','.join(names)}\n" if names else ""),
            "utf-8",
        )
        signer = ("-CA", self.file, "-CAkey", self._key, "-CAcreateserial")
        # With -days 0 the certificate ends in the second in which it begins.
        days = ("-days", "0" if expired else "30")
        _openssl(
            "x509", "-req", "-in", request, *signer, *days, "-extfile", extensions,
            "-out", made.certificate,
        )  # fmt: skip
        return made


def _openssl(*arguments: str | Path) -> None:
    argv = ["openssl", *map(str, arguments)]
    subprocess.run(
        argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S
    )
