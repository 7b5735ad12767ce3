r"""By which accounts tainted money came: what an investigator is shown.

An account remembers, for each hop that can still be carried on, the path of the largest part that arrived and
is still held (see `taint_kernels`). A leg with tainted money tells them on, behind its own four texts:
``event \0 payer \0 payee \0 currency \0 nearer path \0\0 farther path``, each from the listed account up to,
not including, the payer. What left a listed account just now has none. Few payments carry such money, so that
this is text and not part of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection.features import INDEX

F8 = npt.NDArray[np.float64]
U1 = npt.NDArray[np.uint8]

_TAINTED: Final = INDEX["txn.tainted"]
_HOPS: Final = INDEX["txn.taint_hops"]
_END: Final = b"\0"
_BETWEEN: Final = b"\0\0"
"""Between two paths; an id is never empty, so that it stands nowhere else."""
_OWN_TEXTS: Final = 4
_NONE: Final = (b"", b"")
_NEARER: Final = 2.5
"""Up to this mean hop the nearer part is the larger one."""


def path_of(text: bytes, hops: float) -> list[str]:
    r"""Accounts by which the larger part of a payment's tainted money came, from the listed one to the payee.

    Parameters
    ----------
    text
        Of the leg.
    hops
        Its mean hop.

    Examples
    --------
    >>> path_of(b"e1\0B\0C\0CNY\0L\0\0M\0A", 2.1), path_of(b"e1\0B\0C\0CNY\0L\0\0M\0A", 2.9)
    (['L', 'B', 'C'], ['M', 'A', 'B', 'C'])
    """
    _, payer, payee, _, *told = text.split(_END, _OWN_TEXTS)
    before = told[0].split(_BETWEEN)[0 if hops <= _NEARER else 1] if told else b""
    path = [*before.split(_END), payer, payee] if before else [payer, payee]
    return [account.decode() for account in path]


class TaintPaths:
    """Paths of the accounts of one partition."""

    def __init__(self) -> None:
        self._paths: dict[bytes, list[bytes]] = {}
        self._dirty: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._paths)

    def leave(self, texts: list[bytes], first: F8) -> list[bytes]:
        """Texts of payments, those of tainted ones with their payers' paths.

        Parameters
        ----------
        texts
            n texts, as in `Payments`.
        first
            float64[n, at least FIRST_WIDTH], the first hop's features.
        """
        tainted = np.flatnonzero(first[:, _HOPS] > 1.0)
        if not len(tainted):
            return texts
        out = list(texts)
        for i in tainted.tolist():
            out[i] = self._leaving(texts[i], float(first[i, _HOPS]))
        return out

    def arrive(self, texts: Sequence[bytes], led: U1) -> None:
        """Remember the paths of tainted payments.

        Parameters
        ----------
        texts
            n texts as `leave` makes them.
        led
            uint8[n]: 0, or for which hop of the payee's the path is remembered.
        """
        for i in np.flatnonzero(led).tolist():
            self._arrived(texts[i], int(led[i]))

    def both(self, texts: list[bytes], first: F8, led: U1) -> list[bytes]:
        """`leave` and then `arrive` of each payment before the next one is looked at."""
        tainted = np.flatnonzero(first[:, _TAINTED] > 0.0)
        if not len(tainted):
            return texts
        out = list(texts)
        for i in tainted.tolist():
            if first[i, _HOPS] > 1.0:
                out[i] = self._leaving(texts[i], float(first[i, _HOPS]))
            if led[i]:
                self._arrived(out[i], int(led[i]))
        return out

    def _leaving(self, text: bytes, hops: float) -> bytes:
        nearer, farther = self._paths.get(text.split(_END)[1], _NONE)
        # The payer holds it one hop nearer than the payment carries it.
        told = (nearer if hops < 3.0 else b"", farther if hops > 2.0 else b"")
        return text + _END + _BETWEEN.join(told)

    def _arrived(self, text: bytes, hop: int) -> None:
        _, payer, payee, _, *told = text.split(_END, _OWN_TEXTS)
        before = told[0].split(_BETWEEN)[0] if told else b""
        paths = self._paths.setdefault(payee, list(_NONE))
        paths[hop - 1] = before + _END + payer if before else payer
        self._dirty.add(payee)

    def take_dirty(self) -> list[tuple[bytes, bytes]]:
        """Accounts whose paths changed since the last call, and their paths as `load` takes them."""
        changed = sorted(self._dirty)
        self._dirty.clear()
        return self.stored(changed)

    def keys(self) -> list[bytes]:
        """Accounts with a path."""
        return list(self._paths)

    def stored(self, accounts: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """Paths of some accounts now, as `take_dirty` gives them."""
        return [(account, _BETWEEN.join(self._paths[account])) for account in accounts]

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Put paths back that `take_dirty` gave; they are not dirty then."""
        for account, value in items:
            self._paths[account] = value.split(_BETWEEN)
