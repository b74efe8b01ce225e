"""What a file that nobody described seems to be: its format as the configuration has it, told by its content alone.

For ``cdmd try``: a proposal that somebody looks at. Never used while the daemon runs.
"""

from cdmd.connectors.probing.content import otherwise, probe
from cdmd.connectors.probing.guesses import Guess, as_toml

__all__ = ["Guess", "as_toml", "otherwise", "probe"]
