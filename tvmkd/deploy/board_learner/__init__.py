"""Learning a classifier's last layer on a board: Python 3.6 or later, and numpy.

`tvmkd.deploy.learner_file` puts these modules together into one file, ``tvmkd_learner.py``, which
``serve.py --learn`` imports. They import nothing of tvmkd. ``tvmkd/runtime/native/learn`` holds the
same in C: both read and write the same files, and take the same steps from the same seed.
"""
