"""The API: what is sent (``wire``), what answers look like (``answers``) and mean (``classify``), and the client.

``client`` is the only module that imports the HTTP library, ``classify`` the only one that compares status codes.
Nothing here retries, waits or decides what to do about a verdict.
"""
