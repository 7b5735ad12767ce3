"""The kernel that counts payments in both their rows, one payment after the other.

Live, the two hops of different payments interleave as Kafka delivers them. With one payment in flight at a
time they do not, and this kernel counts as then: a payment sees every earlier one at both of its accounts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_guard.detection.batches import REPEAT
from stream_guard.detection.kernels import kernel
from stream_guard.detection.profile_kernels import SEEN, payee_hop, payer_hop

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]
U4 = npt.NDArray[np.uint32]
U1 = npt.NDArray[np.uint8]


@kernel
def both_hops(
    words: I8,
    floats: F8,
    dirty: U1,
    dirty_rows: I8,
    counters: I8,
    payer_rows: I8,
    payee_rows: I8,
    ts: I8,
    local: I8,
    amount: F8,
    payer: I8,
    payee: I8,
    event: I8,
    device: I8,
    content: U4,
    balance: F8,
    latitude: F8,
    longitude: F8,
    level: F8,
    flags: U1,
    horizon: int,
    limits: F8,
    small_amount: float,
    status: U1,
    action: U1,
    led: U1,
    matrix: F8,
) -> None:
    """Count n payments in the payer's and then the payee's row (-1: none); fill both blocks of `matrix`.

    What comes from the payment alone (`fill_txn`) is there already.

    `flags` gets `REPEAT` where the payer's row knew the event. `status` is the second hop's, or the first's
    where that refused the payment; `action` is what the second hop stores for a repeat, `led` its own too.
    """
    for i in range(ts.size):
        one = slice(i, i + 1)
        # The first hop writes its block into the matrix, where the second one looks for it.
        payer_hop(
            words, floats, dirty, dirty_rows, counters, payer_rows[one], ts[one], local[one], amount[one],
            payee[one], event[one], device[one], content[one], balance[one], latitude[one], longitude[one],
            level[one], horizon, limits, small_amount, status[one], action[one], matrix[one],
        )  # fmt: skip
        led[i] = 0
        if status[i] > SEEN:
            continue
        if status[i] == SEEN:
            flags[i] |= np.uint8(REPEAT)
        payee_hop(
            words, floats, dirty, dirty_rows, counters, payee_rows[one], ts[one], local[one], amount[one],
            payer[one], event[one], device[one], content[one], flags[one], action[one], limits, small_amount,
            status[one], action[one], led[one], matrix[one], matrix[one],
        )  # fmt: skip
