//! What the gateway tells of itself: counters, the access log, life-cycle messages.
