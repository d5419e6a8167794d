"""Whether a certificate is for a name, by OpenSSL: the library that Kamailio's tls uses.

Kamailio (5.6 to 6.1) verifies who signed a certificate, but not its name. The rules are those of
RFC 5922 7. A DNS name or a `sip:` URI of the subjectAltName counts. The common name counts only
without a subjectAltName. A literal address needs an IP address. Wildcards do not count (7.2).
"""

from __future__ import annotations

import base64
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import ip_address

from whence.errors import InvalidCertificateError

_NO_WILDCARDS = 0x2  # X509_CHECK_FLAG_NO_WILDCARDS
_NEVER_COMMON_NAME = 0x20  # X509_CHECK_FLAG_NEVER_CHECK_SUBJECT


def is_for(pem: str, name: str, *, has_alternatives: bool) -> bool:
    """Return whether the certificate `pem` is for `name`, a host name or literal address.

    `has_alternatives`: it has a subjectAltName, so that its common name does not count. The caller
    compares the sip: URIs in it. Raises InvalidCertificateError.
    """
    with _read(pem) as certificate:
        if is_literal(name):
            return bool(_libcrypto().X509_check_ip_asc(certificate, name.encode(), 0) == 1)
        flags = _NO_WILDCARDS | (_NEVER_COMMON_NAME if has_alternatives else 0)
        host = name.encode()
        found = _libcrypto().X509_check_host(certificate, host, len(host), flags, None)
        return bool(found == 1)


def expires_at(pem: str) -> float:
    """Return the instant at which the first certificate in `pem` ends.

    Raises: InvalidCertificateError.
    """
    library, days, seconds = _libcrypto(), ctypes.c_int(), ctypes.c_int()
    with _read(pem) as certificate:
        epoch = library.ASN1_TIME_set(None, 0)
        try:
            end = library.X509_get0_notAfter(certificate)
            if not library.ASN1_TIME_diff(ctypes.byref(days), ctypes.byref(seconds), epoch, end):
                raise InvalidCertificateError("no end")
        finally:
            library.ASN1_STRING_free(epoch)
    return days.value * 86_400.0 + seconds.value


def is_literal(name: str) -> bool:
    """Return whether `name` is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@contextmanager
def _read(pem: str) -> Iterator[ctypes.c_void_p]:
    try:
        der = base64.b64decode("".join(pem.split("-----")[2].split()), validate=True)
    except (IndexError, ValueError) as error:
        raise InvalidCertificateError("not PEM") from error
    library, at = _libcrypto(), ctypes.c_char_p(der)
    certificate = library.d2i_X509(None, ctypes.byref(at), len(der))
    if not certificate:
        raise InvalidCertificateError("no certificate")
    try:
        yield certificate
    finally:
        library.X509_free(certificate)


@cache
def _libcrypto() -> ctypes.CDLL:
    # Kamailio's processes have loaded the library already; this returns the same one.
    library = ctypes.CDLL("libcrypto.so.3")
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    library.d2i_X509.restype = pointer
    library.d2i_X509.argtypes = [pointer, ctypes.POINTER(text), ctypes.c_long]
    library.X509_free.restype = None
    library.X509_free.argtypes = [pointer]
    library.X509_get0_notAfter.restype = library.ASN1_TIME_set.restype = pointer
    library.X509_get0_notAfter.argtypes = [pointer]
    library.ASN1_TIME_set.argtypes = [pointer, ctypes.c_long]
    library.ASN1_STRING_free.restype = None
    library.ASN1_STRING_free.argtypes = [pointer]
    number = ctypes.POINTER(ctypes.c_int)
    library.ASN1_TIME_diff.argtypes = [number, number, pointer, pointer]
    library.X509_check_host.argtypes = [pointer, text, size, ctypes.c_uint, pointer]
    library.X509_check_ip_asc.argtypes = [pointer, text, ctypes.c_uint]
    return library
