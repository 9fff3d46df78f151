"""The ledger: the fate of each event at each destination, in SQLite.

The modules build on each other in this order: ``models``, ``encoding``, ``migrations``, ``ledger``,
``landings``, ``destination``, ``erasure``.
"""
