"""``tvmkd deploy keygen``."""

from __future__ import annotations

import getpass
import warnings
from pathlib import Path

import click

from tvmkd.base.errors import UsageError
from tvmkd.cli._options import PATH


@click.command()
@click.argument("key", type=PATH)
@click.option(
    "--no-password", is_flag=True, help="Store the secret key as it is, for a build server."
)
def command(key: Path, no_password: bool) -> None:
    """Make the pair of keys that signs bundles.

    KEY is secret; the public one is written beside it, with the suffix .pub.

    Both are in minisign's format, so that `minisign -V` verifies the signatures, too.

    \b
    Examples:
      tvmkd deploy keygen release.key
      tvmkd deploy bundle out/ -o student-1.2.0.tar.gz --sign release.key
    """
    from tvmkd.deploy.bundles import signing

    password = None
    if not no_password:
        password = _password()
    public = signing.generate(key, password)
    number = signing.key_id(signing.public_key(public))
    click.echo(f"{key}: the secret key; keep it where no board and no repository is")
    click.echo(f"{public}: the public key {number}; boards get it by --pubkey")


def _password() -> str:
    """Asks for the password, twice.

    Raises:
        UsageError: there is no terminal to ask at.
    """
    with warnings.catch_warnings():
        # getpass would go on at the standard input, and show what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return str(
                click.prompt("Password of the key", hide_input=True, confirmation_prompt=True)
            )
        except getpass.GetPassWarning:
            raise UsageError(
                "there is no terminal to ask for the key's password; give --no-password"
            ) from None
