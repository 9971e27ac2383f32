"""Installs a bundle on a board over ssh, and says which version runs there afterwards."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tvmkd.base.errors import GateFailure, InputError, MissingError, TvmkdError, UsageError
from tvmkd.base.files import sha256
from tvmkd.deploy.bundles.remote import Remote
from tvmkd.deploy.bundles.verify import Verified

ATTEMPTS = 5
BY_CODE: Mapping[int, type[TvmkdError]] = {
    1: GateFailure,
    2: UsageError,
    4: InputError,
    5: MissingError,
}
"""The error for an exit code of install.sh."""

# Where bundles arrive: the user's own folder, which no other user may write.
_PLACE = 'd=${XDG_CACHE_HOME:-$HOME/.cache}/tvmkd/push; mkdir -p "$d" && chmod 700 "$d"'

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to install.

    Attributes:
        root: where versions are kept on the board.
        keep: how many; None: install.sh's default.
        pubkey: the publisher's key for a board that has none yet.
        service: install a systemd unit.
        sudo: False: never; True: where the user may not write ``root``.
    """

    root: str = "/opt/tvmkd"
    keep: int | None = None
    pubkey: Path | None = None
    service: bool = True
    sudo: bool = True


@dataclass(frozen=True)
class Installed:
    """What is on the board afterwards, as the board says.

    Attributes:
        status: of install.sh: name, version, folder, before, kept, running, ...
        resumed: bytes that an earlier, interrupted push had sent already.
    """

    status: Mapping[str, str]
    resumed: int = 0


class Board:
    """A board that can be reached.

    Args:
        remote: the connection.
        options: how to install.

    Raises:
        MissingError: it cannot be reached, or only root may write there and sudo wants a password.
    """

    def __init__(self, remote: Remote, options: Options) -> None:
        self.remote, self.options = remote, options
        root = shlex.quote(options.root)
        self.facts = _fields(
            remote.run(
                f'{_PLACE} || exit 4; echo "place=$d"\n'
                'echo "machine=${TVMKD_MACHINE:-$(uname -m)}"\n'
                f"r={root}; [ ! -e $r/bin/install.sh ] || echo installer=yes\n"
                "while [ ! -e $r ]; do r=$(dirname $r); done; [ -w $r ] && echo writes=yes\n"
                "sudo -n true 2>/dev/null && echo sudo=yes\ntrue"
            )
        )
        if "place" not in self.facts:
            raise MissingError(f"{remote.destination}: has no home folder that can be written")
        self._prefix = ""
        if "writes" not in self.facts:
            if not options.sudo or "sudo" not in self.facts:
                raise MissingError(
                    f"{remote.destination}: {options.root} cannot be written and sudo wants a "
                    "password: log in as root, allow sudo without a password, or give --root"
                )
            self._prefix = "sudo -n "

    def install(self, bundle: Path, about: Verified, tell: Tell, show: Tell) -> Installed:
        """Sends a bundle and installs it.

        Args:
            bundle: the archive.
            about: what `verify` found in it.
            tell: gets what is being done.
            show: gets each line that install.sh prints.

        Raises:
            InputError: the bundle is for another machine, or the board refuses it.
            GateFailure: its self-test fails there, or its server does not start.
            MissingError: the connection ended; what was sent is kept, and the next push resumes.
        """
        if self.facts.get("machine") != about.fields.get("architecture"):
            raise InputError(
                f"{bundle}: is for {about.fields.get('architecture')} and "
                f"{self.remote.destination} is {self.facts.get('machine')}: build it for a target "
                "that fits"
            )
        digest = sha256(bundle)
        resumed = self._send(bundle, digest, tell)
        sent = f'"$d"/{digest}.tar.gz'
        given = self._given()
        if self.options.pubkey is not None:
            key = self.options.pubkey.read_bytes()
            self.remote.run(f'{_PLACE}; cat > "$d/publisher.pub"', stdin=key)
        tell("installing")
        if "installer" in self.facts:
            # The board's own installer and verifier look at it before anything of it is run.
            script = f"{_PLACE}; {self._prefix}sh {self._installer} {sent} {given}"
        else:
            script = (
                f'{_PLACE}; rm -rf "$d/first"; mkdir "$d/first" && '
                f'tar -xzf {sent} -C "$d/first" && '
                f'{self._prefix}sh "$d"/first/*/install.sh {given}; '
                'code=$?; rm -rf "$d/first"; exit $code'
            )
        self._installed(script, show)
        self.remote.run(f'{_PLACE}; rm -f {sent} "$d/publisher.pub"')
        return Installed(self._status(about.fields["name"], about.fields["version"]), resumed)

    def rollback(self, name: str | None, show: Tell) -> Installed:
        """Goes back to the version before the current one.

        Args:
            name: of the bundle; None: the only one that is installed.
            show: gets each line that install.sh prints.

        Raises:
            InputError: there is none.
        """
        if "installer" not in self.facts:
            raise InputError(
                f"{self.remote.destination}: nothing is installed in {self.options.root}"
            )
        which = "" if name is None else shlex.quote(name)
        self._installed(
            f"{self._prefix}sh {self._installer} rollback {which} {self._given()}", show
        )
        return Installed(self._status(name, None))

    @property
    def _installer(self) -> str:
        return shlex.quote(f"{self.options.root}/bin/install.sh")

    def _given(self) -> str:
        options = self.options
        given = ["--root", shlex.quote(options.root)]
        if options.keep is not None:
            given += ["--keep", str(options.keep)]
        if options.pubkey is not None:
            given += ["--pubkey", '"$d/publisher.pub"']
        if not options.service:
            given.append("--no-service")
        return " ".join(given)

    def _send(self, bundle: Path, digest: str, tell: Tell) -> int:
        """Sends what the board does not have yet; returns how much it had of it."""
        size, resumed = bundle.stat().st_size, 0
        for attempt in range(ATTEMPTS):
            have = self._have(bundle, digest)
            if attempt == 0:
                resumed = have
            if have < size:
                tell(f"sending {(size - have) / 2**20:.1f} of {size / 2**20:.1f} MiB")
                script = f'{_PLACE}; cat >> "$d/{digest}.part"'
                complete = self.remote.send(script, bundle, have)
                if not complete:
                    continue
            done = self.remote.run(
                f'{_PLACE}; cd "$d"; [ -e {digest}.tar.gz ] && exit; '
                f'if [ "$(sha256sum < {digest}.part | cut -c 1-64)" = {digest} ]; then '
                f"mv {digest}.part {digest}.tar.gz && sync; "
                f"else rm -f {digest}.part; echo bad; fi"
            )
            if "bad" not in done:
                return resumed
        raise MissingError(
            f"{self.remote.destination}: the connection ended {ATTEMPTS} times; what was sent is "
            "kept there: run the same command again"
        )

    def _have(self, bundle: Path, digest: str) -> int:
        """How many bytes of the bundle are there, and are those of this bundle."""
        found = _fields(
            self.remote.run(
                f'{_PLACE}; cd "$d"; find . -name "*.part" ! -name {digest}.part -mtime +7 '
                "-exec rm -f {} +\n"
                f"for f in {digest}.tar.gz {digest}.part; do if [ -e $f ]; then "
                'echo "size=$(wc -c < $f)"; echo "sha256=$(sha256sum < $f | cut -c 1-64)"; '
                "exit; fi; done"
            )
        )
        size = int(found.get("size", "0"))
        if size and _prefix_sha256(bundle, size) != found.get("sha256"):
            self.remote.run(f'{_PLACE}; rm -f "$d"/{digest}.*')
            return 0
        return size

    def _installed(self, script: str, show: Tell) -> None:
        code, last = self.remote.stream(script, show)
        if code:
            text = last.removeprefix("tvmkd-install: ").removeprefix("error: ")
            raise BY_CODE.get(code, TvmkdError)(f"{self.remote.destination}: {text}")

    def _status(self, name: str | None, version: str | None) -> Mapping[str, str]:
        """What the board says, held against what was installed."""
        which = "" if name is None else shlex.quote(name)
        root = shlex.quote(self.options.root)
        found = _fields(
            self.remote.run(f"{self._prefix}sh {self._installer} status {which} --root {root}")
        )
        now = Path(found.get("folder", "")).name
        if version is not None and found.get("version") != version:
            raise GateFailure(
                f"{self.remote.destination}: {found.get('version')} is current there, not {version}"
            )
        if found.get("running") not in ("", None, now):
            raise GateFailure(
                f"{self.remote.destination}: {found['running']} still runs there, not {now}: "
                f"restart tvmkd-{found.get('name')}.service"
            )
        return found


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _prefix_sha256(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while size and (chunk := stream.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest() if size == 0 else ""
