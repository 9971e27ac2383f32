"""The server for a board's own Python: 3.6 or later, the standard library only.

`tvmkd.deploy.serve_file` puts these modules together into one file, ``serve.py``. They import
nothing of tvmkd, and tvmkd imports none of them.
"""
