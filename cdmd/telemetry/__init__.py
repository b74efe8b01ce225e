"""Events' ways as spans for an OpenTelemetry collector: an extra (``cdmd[otel]``), not even loaded unless configured."""
