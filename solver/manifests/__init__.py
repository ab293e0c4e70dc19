"""
Deployments that can be applied: manifests and commands for what a result or a frontier point says.

The walk: ``chosen.py`` reads the file and picks the point, ``plan.py`` names what is to be served, ``nodes.py`` packs
the replicas into pods, nodes and NVLink domains, ``engines.py`` and its three files say it in the flags of a serving
engine, one file per target (``registry.py`` lists them) writes the documents, ``checked.py`` holds them against the
schemas in ``schemas/``, ``export.py`` is the whole story in one function.
"""
