"""The names that a certificate is for, by the system's OpenSSL."""

import pytest

from testkit.certificates import Authority
from whence.errors import InvalidCertificateError
from whence.trust.certificates import is_for


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority("authority", tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["DNS:sip.example"], "sip.example", True),
        (["DNS:SIP.example"], "sip.example", True),
        (["DNS:a.example", "DNS:b.example", "DNS:sip.example"], "sip.example", True),
        (["DNS:sip.example"], "a.sip.example", False),
        (["DNS:sip.example"], "example", False),
        (["DNS:sip.example.evil.invalid"], "sip.example", False),
        (["DNS:*.example"], "sip.example", False),
        (["IP:192.0.2.1"], "192.0.2.1", True),
        (["IP:2001:db8::1"], "2001:db8:0::1", True),
        (["IP:192.0.2.1"], "192.0.2.2", False),
        (["DNS:192.0.2.1"], "192.0.2.1", False),
    ],
)
def test_certificate_is_for_its_alternative_names(
    authority: Authority, names: list[str], asked: str, *, expected: bool
) -> None:
    made = authority.certificate(*names, common_name=asked)
    assert is_for(made.certificate.read_text(), asked, has_alternatives=True) is expected


def test_common_name_counts_only_without_alternative_names(authority: Authority) -> None:
    made = authority.certificate(common_name="sip.example").certificate.read_text()
    assert is_for(made, "sip.example", has_alternatives=False)
    assert not is_for(made, "sip.example", has_alternatives=True)
    assert not is_for(made, "other.example", has_alternatives=False)


@pytest.mark.parametrize(
    "pem", ["", "None", "-----BEGIN CERTIFICATE-----\n!\n-----END", "-----a-----aGFsbG8=-----"]
)
def test_invalid_certificate_raises(pem: str) -> None:
    with pytest.raises(InvalidCertificateError):
        is_for(pem, "sip.example", has_alternatives=True)
