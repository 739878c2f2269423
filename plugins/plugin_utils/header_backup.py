# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Header backups on the controller: compressed, and encrypted so that the volume's passphrase opens them.

Run as a program, it decrypts one: python3 header_backup.py BACKUP HEADER

The passphrase goes through scrypt first. Ansible's vault alone tries a guess in milliseconds, and a backup must not be
an easier way to the passphrase than the volume itself. See docs/decisions/volume-header-backup.md.
"""

from __future__ import annotations

import getpass
import gzip
import hashlib
import os
import sys
from pathlib import Path

from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret

MAGIC = b"LUKS\xba\xbe"
SUFFIX = ".luksheader.vault"

# 256 MiB, three to five seconds: what argon2id costs for the volume, by the one memory-hard function Python has.
COST = {"n": 2**18, "r": 8, "p": 2, "maxmem": 2**29}


def _vault(passphrase: bytes, uuid: str) -> VaultLib:
    key = hashlib.scrypt(passphrase, salt=uuid.encode(), dklen=32, **COST)
    return VaultLib([(uuid, VaultSecret(key.hex().encode()))])


def seal(packed: bytes, passphrase: bytes, uuid: str) -> bytes:
    """Encrypt a compressed header, with its UUID as the vault's label. Opened again before it is trusted."""
    sealed = _vault(passphrase, uuid).encrypt(packed, vault_id=uuid)
    if not unseal(sealed, passphrase).startswith(MAGIC):
        raise ValueError("what was fetched is no LUKS header")
    return sealed


def unseal(sealed: bytes, passphrase: bytes) -> bytes:
    uuid = sealed.split(b"\n", 1)[0].split(b";")[-1].decode().strip()
    return gzip.decompress(_vault(passphrase, uuid).decrypt(sealed))


def path(directory: str, host: str, name: str, digest: str) -> Path:
    return Path(directory).expanduser() / f"{host}-{name}-{digest}{SUFFIX}"


def known_digests(directory: str, host: str, name: str) -> list[str]:
    """Which states of the volume's header have a backup already: their digests are in the file names."""
    prefix = f"{host}-{name}-"
    files = Path(directory).expanduser().glob(f"*{SUFFIX}")
    return sorted(file.name.removeprefix(prefix).removesuffix(SUFFIX) for file in files if file.name.startswith(prefix))


def write(target: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner only."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.rename(target)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(f"Usage: {sys.argv[0]} BACKUP{SUFFIX} HEADER")
    passphrase = getpass.getpass("Passphrase of the volume: ").encode("utf-8", "surrogateescape")
    try:
        header = unseal(Path(sys.argv[1]).read_bytes(), passphrase)
    except AnsibleVaultError:
        sys.exit(f"The passphrase does not open {sys.argv[1]}. A backup opens with the passphrase of its own day.")
    write(Path(sys.argv[2]), header)
    print(f"{sys.argv[2]}: {len(header)} bytes, for cryptsetup luksHeaderRestore (runbook lost-passphrase)")


if __name__ == "__main__":
    main()
