"""The built-in connectors and file formats, a module or a package each; ``registered`` names them for the hooks."""
