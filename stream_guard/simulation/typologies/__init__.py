"""Every typology as a small play, and innocent plays that look like them.

A play chooses its cast and writes an :class:`~stream_guard.simulation.scene.Episode`: the payments at their
natural pace, what had to be there before, and the truth about who was what. ``TYPOLOGIES`` gives each with
its number in the catalogue of typologies (``models/README.md``).

Adding one: write the play, add it here, and state its trigger in ``tests/simulation/test_typologies.py``.
"""

from __future__ import annotations

from stream_guard.simulation.scene import Play
from stream_guard.simulation.typologies import (
    evasion,
    idle_accounts,
    innocent,
    one_hand,
    pass_through,
    takeover,
    victims,
)

TYPOLOGIES: dict[str, tuple[int, Play]] = {
    "rapid-in-out": (1, pass_through.rapid_in_out),
    "many-in-one-out": (2, pass_through.many_in_one_out),
    "one-in-many-out": (3, pass_through.one_in_many_out),
    "similar-payments": (4, evasion.similar_payments),
    "probe-then-drain": (5, takeover.probe_then_drain),
    "dormant-wakes": (6, idle_accounts.dormant_wakes),
    "new-account-high-turnover": (7, idle_accounts.new_account_high_turnover),
    "night-out-of-habit": (8, takeover.night_out_of_habit),
    "below-limit": (9, evasion.below_limit),
    "ants-moving-house": (10, evasion.ants_moving_house),
    "two-way-churning": (11, pass_through.two_way_churning),
    "details-changed": (12, takeover.details_changed),
    "elder-stranger-large": (13, victims.elder_stranger_large),
    "collection-account": (14, one_hand.collection_account),
    "shared-device": (15, one_hand.shared_device),
    "listed-counterparty": (16, victims.listed_counterparty),
    "drain": (17, takeover.drain),
    "far-above-habit": (18, takeover.far_above_habit),
    "divergence": (19, evasion.divergence),
    "mirror-pass-through": (20, pass_through.mirror_pass_through),
    "frequent-opening": (21, one_hand.frequent_opening),
    "impossible-travel": (22, takeover.impossible_travel),
    "tainted-funds": (23, victims.tainted_funds),
    "small-tries": (5, takeover.small_tries),
}
"""Number in the catalogue, and the play, by name."""

LOOK_ALIKES: dict[str, Play] = {
    "salary-run": innocent.salary_run,
    "shop-takings": innocent.shop_takings,
    "house-purchase": innocent.house_purchase,
    "bonus-saved": innocent.bonus_saved,
    "lent-and-repaid": innocent.lent_and_repaid,
    "swept-account": innocent.swept_account,
    "supplier-run": innocent.supplier_run,
    "course-fees": innocent.course_fees,
    "new-kitchen": innocent.new_kitchen,
    "deposit-and-rent": innocent.deposit_and_rent,
    "number-tried": innocent.number_tried,
    "bill-shared": innocent.bill_shared,
    "flight": innocent.flight,
    "late-worker": innocent.late_worker,
    "new-telephone": innocent.new_telephone,
    "second-car": innocent.second_car,
    "care-home": innocent.care_home,
    "back-from-abroad": innocent.back_from_abroad,
    "savings-moved": innocent.savings_moved,
    "moved-here": innocent.moved_here,
    "cleared": innocent.cleared,
    "wedding": innocent.wedding,
    "family-tablet": one_hand.family_tablet,
    "student-accounts": one_hand.student_accounts,
    "couple-buys": one_hand.couple_buys,
}
"""Innocent plays by name."""

HISTORY_DAYS: dict[str, float] = dict.fromkeys(
    ("dormant-wakes", "back-from-abroad", "savings-moved"), idle_accounts.DORMANT_DAYS + 6
)
"""Days of history that a play needs before it, where it needs more than a month."""

__all__ = ["HISTORY_DAYS", "LOOK_ALIKES", "TYPOLOGIES"]
