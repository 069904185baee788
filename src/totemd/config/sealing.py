"""Whether the ring's datagrams are sealed, by which cipher and with whose key (secauth, crypto_cipher, keyfile)."""

from typing import Final

from totemd.config.document import Document
from totemd.config.model import SealSettings

DEFAULT_SUITE: Final = "aes256"
DEFAULT_KEYFILE: Final = "/etc/corosync/authkey"


def read_seal(document: Document) -> SealSettings | None:
    """The seal, or None for an open ring. ConfigError where the file says both, or half of it.

    A managed cluster (cluster_id) is sealed unless `crypto_cipher: none` says otherwise.
    """
    totem = document.table("totem")
    managed = "cluster_id" in totem.values
    secauth = totem.text("secauth")
    suite = totem.text("crypto_cipher")
    if suite == "none" and secauth == "on":
        raise totem.error("crypto_cipher", 'found "none", but secauth is on; remove one of the two')
    if suite is None and managed and secauth == "off":
        text = (
            'found "off", but a cluster with a cluster_id is sealed; remove it, or have it open by crypto_cipher: none'
        )
        raise totem.error("secauth", text)
    if suite is None and (managed or secauth == "on"):
        suite = DEFAULT_SUITE
    if suite in (None, "none"):
        _check_open(document)
        return None
    keyfile = totem.text("keyfile") or DEFAULT_KEYFILE
    if not keyfile.startswith("/"):
        raise totem.error("keyfile", f'found "{keyfile}"; give a path that begins with /')
    return SealSettings(suite=str(suite), keyfile=keyfile)


def _check_open(document: Document) -> None:
    """What asks for protection without giving a cipher must not be passed over."""
    totem = document.table("totem")
    crypto_hash = totem.text("crypto_hash")
    if crypto_hash not in (None, "none"):
        text = f'found "{crypto_hash}", but no cipher is set; write crypto_cipher: aes256, or remove it'
        raise totem.error("crypto_hash", text)
    if "keyfile" in totem.values:
        text = "no key is used: the ring is not sealed; write secauth: on to seal it, or remove this"
        document.warn(totem.warning("keyfile", text))
