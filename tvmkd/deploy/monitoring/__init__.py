"""Watches boards and inference servers: ``tvmkd board top``, a Grafana dashboard, alert rules."""
