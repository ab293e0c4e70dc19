"""Plans that keep every demand after the worst loss of nodes or NVLink domains, with a placement that proves it."""
