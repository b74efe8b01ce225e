"""Never ends being imported."""

import threading

threading.Event().wait()
