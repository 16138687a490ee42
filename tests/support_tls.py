"""A certificate that nobody trusts, for 127.0.0.1; its key was made for these tests and is worth nothing elsewhere."""

import ssl
from pathlib import Path

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdDCCARqgAwIBAgIBATAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVhIHNlcnZl
ciBvZiB0aGUgdGVzdHMwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MCAxHjAcBgNVBAMMFWEgc2VydmVyIG9mIHRoZSB0ZXN0czBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABPYnlLGYCunAm0UVbn30M/Aa84LKQ2vc6/noo7EBf7g2x/Ma
BecxjpgdJDX2oq1uT/0oYW0EEvQ8vlKMUeX2b56jQzBBMA8GA1UdEQQIMAaHBH8A
AAEwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU5KsmmS1K01SDxKbRbsAEVBqc
m4gwCgYIKoZIzj0EAwIDSAAwRQIhALffdD49ZG8p+lc75SUIdMnk3ESeoP5wcEWC
WPH9d7e6AiAHBNWd8UUGuTlCpQ+btD+qItWcqE5ne92DEzgWiL3qAg==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNuPgW+EuVTWIE49z
TwoO5e1gJmqEUQyhJMiZivVARkyhRANCAAT2J5SxmArpwJtFFW599DPwGvOCykNr
3Ov56KOxAX+4NsfzGgXnMY6YHSQ19qKtbk/9KGFtBBL0PL5SjFHl9m+e
-----END PRIVATE KEY-----
"""


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server shows its certificate with, and the file that a client must trust."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
