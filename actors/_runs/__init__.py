"""What stays of supervised runs: folders, manifests, logs, and the store that says who may write.

A root folder holds ``runs.sqlite3`` (``_store``), in which each run is a row that belongs to an epoch, and for each run
a folder (``_folder``) with its manifests and event logs. A trainer writes in this order, and at each step that says
False, or raises ``fenced``, it ends and writes nothing more:

1. ``take`` the run, finish the sessions of older epochs on the server, and carry on with the deletes that were cut off;
2. choose from ``lineage(taken.latest, taken.began, taken.retired)`` what can be restored: ``set_restoring``, and
   ``fall_back`` where it is not ``taken.latest``; then log ``began`` with its update;
3. ``record_session`` before the first request that trains;
4. log each update when its results are read;
5. to commit: save on the server, see it listed, ``sync`` the log, ``write_manifest``, ``move_latest``;
6. only then ``plan_retention``; to delete: ``retire``, delete on the server, ``remove_manifest``, ``deleted``;
7. to roll back or rebuild itself: ``take`` with ``held``, and all from 1 on.
"""
