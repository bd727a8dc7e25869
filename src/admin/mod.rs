//! Doors for those who run the gateway: health and metrics.
