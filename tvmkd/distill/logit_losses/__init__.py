"""Losses of classifiers on the logits of student and teacher, one file each.

`tvmkd.distill.losses` makes them from ``[distill]``.
"""
