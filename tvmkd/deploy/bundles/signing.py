"""Keys and signatures in minisign's format (jedisct1.github.io/minisign), by py-minisign."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError, MissingError, UsageError, unwritable
from tvmkd.base.files import check_replaceable, write_bytes

if TYPE_CHECKING:
    import minisign

Ask = Callable[[str], str]

PREHASHED = b"ED"


def package() -> Any:
    """The module ``minisign``.

    Raises:
        MissingError: it is not installed.
    """
    try:
        import minisign
    except ImportError:
        raise MissingError("py-minisign is not installed: pip install 'tvmkd[deploy]'") from None
    return minisign


def generate(secret: Path, password: str | None) -> Path:
    """Makes a pair of keys: ``secret`` (mode 0600) and the public one beside it, ``.pub``.

    Args:
        secret: the file of the secret key; one that exists is never replaced.
        password: encrypts the secret key by scrypt; None: it is stored as it is.

    Returns:
        The public key's path.

    Raises:
        UsageError: a file is there already.
        InputError: a file cannot be written; neither is there then.
    """
    if secret.is_dir():
        raise InputError(f"{secret}: is a folder; give a file's name in it, such as release.key")
    public = secret.with_suffix(".pub")
    if secret.suffix in ("", ".pub"):
        raise UsageError(f"{secret}: give a name such as release.key; the public key gets .pub")
    for path in (secret, public):
        if path.exists():
            raise UsageError(f"{path}: exists, and keys are not replaced; give a new name")
    check_replaceable(public)
    pair = package().KeyPair.generate()
    if password is not None:
        pair.secret_key.encrypt(password)
    try:
        secret.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL and the mode from the start: nobody else reads the key, not even for a moment.
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise unwritable(error, secret) from None
    try:
        _fill(descriptor, secret, bytes(pair.secret_key) + b"\n")
        write_bytes(public, public_bytes(pair.public_key))
    except BaseException:
        with contextlib.suppress(OSError):
            secret.unlink()
        raise
    return public


def _fill(descriptor: int, path: Path, data: bytes) -> None:
    """Writes an open file to the disk and closes it; ``path`` is its name, for errors."""
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise unwritable(error, path) from None


def secret_key(path: Path, ask: Ask) -> minisign.SecretKey:
    """Reads a secret key, tvmkd's or minisign's own.

    Args:
        path: its file.
        ask: gets a prompt, returns the password; called only if the key is encrypted.

    Raises:
        InputError: it is none, or the password is wrong.
    """
    library = package()
    try:
        key: minisign.SecretKey = library.SecretKey.from_file(path)
        if key.is_encrypted():
            key.decrypt(ask(f"password of {path}: "))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (library.Error, ValueError) as error:
        raise InputError(
            f"{path}: {str(error) or 'is no secret key'}; make one with: tvmkd deploy keygen"
        ) from None
    return key


def public_key(path: Path) -> minisign.PublicKey:
    """Reads a public key.

    Raises:
        InputError: it is none.
    """
    library = package()
    try:
        key: minisign.PublicKey = library.PublicKey.from_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (library.Error, ValueError) as error:
        raise InputError(f"{path}: is no public key of minisign: {error}") from None
    return key


def sign(key: minisign.SecretKey, data: bytes, comment: str) -> bytes:
    """The signature's file. The same key, data and comment give the same bytes.

    Args:
        key: not encrypted.
        data: what is signed.
        comment: signed too; one line.
    """
    made = key.sign(
        data, prehash=True, untrusted_comment="signature by tvmkd", trusted_comment=comment
    )
    return bytes(made) + b"\n"


def verify(key: minisign.PublicKey, data: bytes, signature: bytes, where: str) -> str:
    """Checks a signature; returns its signed comment.

    Args:
        where: what is checked, for messages.

    Raises:
        InputError: it is not that of the key for the data.
    """
    library = package()
    try:
        found = library.Signature.from_bytes(signature)
        if not found.is_prehashed():
            raise library.VerifyError("it is not prehashed")
        # Its number lies where a public key has its own: after two bytes, on the second line.
        signer = _number(base64.standard_b64decode(signature.splitlines()[1]))
        if signer != key_id(key):
            raise library.VerifyError(f"it is by the key {signer}, not by {key_id(key)}")
        key.verify(data, found)
    except (library.Error, ValueError) as error:
        raise InputError(f"{where}: the signature is not right: {error}") from None
    return str(found.trusted_comment)


def public_bytes(key: minisign.PublicKey) -> bytes:
    """The public key's file, with the number that minisign shows for it in its comment."""
    text = key.to_base64().decode()
    return f"untrusted comment: minisign public key {key_id(key)}\n{text}\n".encode()


def key_id(key: minisign.PublicKey) -> str:
    """The key's number in hex, as ``minisign`` prints it."""
    return _number(base64.standard_b64decode(key.to_base64()))


def _number(packed: bytes) -> str:
    # Little-endian, after two bytes for the algorithm.
    return packed[2:10][::-1].hex().upper()
