"""What would have been decided with other rules in force, of the same rule results."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_guard.detection.decision_kernels import settle
from stream_guard.detection.kernels import kernel

F8 = npt.NDArray[np.float64]
U1 = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@kernel
def settle_views(
    fired: U1,
    scores: F8,
    side: U1,
    action: U1,
    police: Flags,
    warns: Flags,
    payer_anomaly: Flags,
    payee_anomaly: Flags,
    listed: Flags,
    policy: F8,
    rules: Flags,
    anomaly: Flags,
    out_action: U1,
    out_score: F8,
    out_warns: Flags,
) -> None:
    """Settle k payments once for each of V sets of rules, as `decide` settles them.

    Parameters
    ----------
    fired, scores
        u1[k, R], f8[k, R]: results of the rules.
    side, action, police, warns
        [R] of the rules; `warns`: opens a warning whatever the score.
    payer_anomaly, payee_anomaly, listed
        bool[k]: the anomaly model gave a reason; a party is listed.
    rules, anomaly
        bool[V, R], bool[V]: what counts in each set.
    out_action, out_score, out_warns
        Written: u1[V, k], f8[V, 2, k], bool[V, 2, k]; payer first.
    """
    for v in range(rules.shape[0]):
        for i in range(fired.shape[0]):
            out_action[v, i], out_score[v, 0, i], out_score[v, 1, i] = settle(
                fired[i], scores[i], side, action, rules[v], police, payer_anomaly[i] and anomaly[v],
                payee_anomaly[i] and anomaly[v], listed[i], policy,
            )  # fmt: skip
            out_warns[v, 0, i] = False
            out_warns[v, 1, i] = False
            for r in range(fired.shape[1]):
                if warns[r] and rules[v, r] and fired[i, r] == 1:
                    out_warns[v, side[r], i] = True
