"""Suites: named lists of networks, compared one after the other (``tvmkd compare --suite``)."""
