"""``tvmkd deploy verify``."""

from __future__ import annotations

from pathlib import Path

import click

from tvmkd.cli._options import PATH, json_option, print_json


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--pubkey", type=PATH, help="The publisher's key; default: the bundle's own.")
@json_option
def command(bundle: Path, pubkey: Path | None, as_json: bool) -> None:
    """Check a bundle's checksums and signature.

    Without --pubkey the signature only shows that the bundle is whole: whoever changed it could
    have signed it with another key.

    \b
    Examples:
      tvmkd deploy verify student-1.2.0.tar.gz --pubkey release.pub
    """
    from tvmkd.deploy.bundles import signing
    from tvmkd.deploy.bundles.verify import verify

    found = verify(bundle, None if pubkey is None else signing.public_key(pubkey))
    if as_json:
        print_json(
            {
                "path": str(bundle),
                **found.fields,
                "key": found.key,
                "pinned": found.pinned,
                "files": dict(found.files),
            }
        )
        return
    for name, size in found.files.items():
        click.echo(f"{name:<36}{size / 1024:>10.1f} KiB")
    click.echo(
        f"{bundle}: {found.fields.get('name')} {found.fields.get('version')} for "
        f"{found.fields.get('target')}, all checksums are right"
    )
    if found.key is None:
        click.echo("not signed")
    elif found.pinned:
        click.echo(f"signed with the key {found.key}")
    else:
        click.echo(f"signed with its own key {found.key}; give --pubkey to check whose it is")
